"""A part of a benchmark runs in a process of its own, with what it is told, and gives back its last line."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import own_process
from benchmarks.own_process import run_part

PART = """\
import json, os, sys
spec = json.loads(sys.argv[sys.argv.index("--spec") + 1])
print("something before")
if spec.get("fails"):
    raise ValueError("no such part")
print(json.dumps({"twice": 2 * spec["number"], "said": os.environ["SAID"]}))
"""


@pytest.fixture(autouse=True)
def benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "benchmarks"
    here.mkdir()
    (here / "part.py").write_text(PART)
    monkeypatch.setattr(own_process, "HERE", here)
    monkeypatch.delenv("PYTHONPATH", raising=False)


def test_a_part_gives_back_what_it_prints_last() -> None:
    assert run_part("part", "doubling", {"number": 21}, {"SAID": "so"}) == {"twice": 42, "said": "so"}


def test_one_that_fails_ends_the_benchmark_in_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^doubling: ValueError: no such part$"):
        run_part("part", "doubling", {"fails": True})
