"""Commands that a process of their own runs and a signal kills go on, and end with the bytes of unkilled ones."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.cli.main import main
from tests.helpers.ranks import start_command
from tests.helpers.runs import rows
from tests.rounds.benchmark.test_rows import written
from tests.rounds.test_ranking import written as written_candidates

SLOW = """
import time
from pathlib import Path

def f(prompt, completion):
    if Path("slow").exists() and len(Path(".{part}.part").read_bytes().splitlines()) > 2:
        time.sleep(60)
    return len(completion)
"""


@pytest.mark.parametrize("command", ["rank", "evaluate"])
def test_a_killed_command_goes_on(command: str, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    if command == "rank":
        file, out, kept = "in.jsonl", "out.jsonl", "out.jsonl"
        both = [{"prompt": row["prompt"], "completions": [row["chosen"], row["rejected"]]} for row in rows(8)]
        written_candidates(tmp_path / file, both)
    else:
        file, out, kept = Path(written(tmp_path, *rows(8))).name, "out.json", "out.rows.jsonl"
    (tmp_path / "mine.py").write_text(SLOW.format(part=kept))
    words = [command, file, "--function", "mine.py:f", "--out"]
    Path("slow").touch()
    process = start_command([*words, out], tmp_path)
    part = Path(f".{kept}.part")
    while process.is_alive() and not (part.exists() and part.read_bytes().count(b"\n") == 3):
        time.sleep(0.02)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not Path(out).exists()
    assert not Path(kept).exists()
    before = part.read_bytes()
    Path("slow").unlink()
    main([*words, out])
    resumed = {name: Path(name).read_bytes() for name in {out, kept}}
    assert resumed[kept].startswith(before)
    assert resumed[kept].count(b"\n") == 8
    for name in resumed:
        Path(name).unlink()
    main([*words, out])
    assert {name: Path(name).read_bytes() for name in resumed} == resumed
