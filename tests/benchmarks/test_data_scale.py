"""What the benchmark of large files writes, and makes of its stages."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import datasets
import pytest

from benchmarks.data_scale import GOALS, figures, table, write_rows

PAIR = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_each_row_has_a_prompt_of_its_own(tmp_path: Path, kind: str) -> None:
    with gzip.open(tmp_path / "pairs.jsonl.gz", "wt") as file:
        file.write(json.dumps(PAIR) + "\n")
    path = tmp_path / f"rows.{kind}"
    write_rows(tmp_path / "pairs.jsonl.gz", path, 2100)
    rows = datasets.load_dataset(kind.replace("jsonl", "json"), data_files=str(path), split="train")
    assert len(set(rows["prompt"][:])) == 2100
    assert rows[7] == {"prompt": "(7)\n\nHuman: a\n\nAssistant:", "chosen": " b", "rejected": " c"}


def test_the_figures_are_those_that_have_goals() -> None:
    second = {"start_s": 4.0, "index_rows_s": 2.0, "content_hash_s": 2.5, "plan_s": 1.0, "peak_mib": 9.0}
    turns = [{"tokenizer_s": 10.0, "ours_s": ours} for ours in (11.0, 12.0, 20.0)]
    peaks = {
        "read": {"peak_mib": 700.0},
        "first": {"peak_mib": 500.0},
        "inspect": {"inspect_s": 40.0, "peak_mib": 800.0},
    }
    found = figures({**peaks, "turns": {"turns": turns}, "second": second})
    assert found.keys() == GOALS.keys()
    assert (found["inspect_s"], found["inspect_peak_mib"]) == (40.0, 800.0)
    assert (found["tokenise_ratio"], found["tokenise_peak_mib"], found["start_s"]) == (1.2, 500.0, 4.0)
    assert table({"rows": 10, "file_mib": 1.0, "figures": found}).row_count == len(GOALS)
