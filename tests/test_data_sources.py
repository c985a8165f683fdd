"""The page on sources: its configs run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpo_lightning.cli.main import main
from tests.helpers.runs import rows, saved_model

PAGE = Path(__file__).resolve().parents[1] / "docs/data-sources.md"
CONFIGS = [yaml.safe_load(block)["data"] for block in re.findall(r"```yaml\n(.+?)```", PAGE.read_text(), re.DOTALL)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    for name, count, prompt in (("helpful", 60, "prompt"), ("harmless", 40, "question"), ("rare", 30, "prompt")):
        scores = {"score_rejected": 1}
        own = [{**row, prompt: row["prompt"], "score_chosen": n, **scores} for n, row in enumerate(rows(count))]
        for row in own if prompt == "question" else ():
            del row["prompt"]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
    return tmp_path


def run(here: Path, *words: str, data: dict[str, Any]) -> None:
    config = {
        "model": {"policy": saved_model(here / "model")},
        "data": {**data, "tokenizer": None},
        "trainer": {"accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_checkpointing": False},
    }
    config["trainer"] |= {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    (here / "run.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", "run.yaml", *words])


def test_the_config_of_sources_runs(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        run(here, data=CONFIGS[0])
    shares = "130 rows in each epoch: helpful 68 of 54 rows (52.3%), harmless 22 of 36 rows (16.9%), rare 40 of 27 rows"
    assert shares in caplog.text
    assert "held-out pairs: loss" in caplog.text


def test_the_config_of_a_curriculum_runs(here: Path) -> None:
    run(here, data={**CONFIGS[1], "dataset": "rare.jsonl"})


def test_the_config_of_a_stream_runs(here: Path) -> None:
    (here / "rare.jsonl").rename(here / "held_out.jsonl")
    run(here, "--trainer.max_steps=3", data={**CONFIGS[2], "dataset": "helpful.jsonl"})


def test_sources_are_given_on_the_command_line_too(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = [{"dataset": "helpful.jsonl", "rows": 7}, {"dataset": "rare.jsonl", "rows": 9}]
    with caplog.at_level("INFO"):
        run(here, f"--data.sources={json.dumps(given)}", data={"batch_pairs": 8})
    assert "16 rows in each epoch: helpful 7 of 60 rows (43.8%), rare 9 of 30 rows (56.2%)" in caplog.text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"dataset": "rare.jsonl", "wieght": 3}, "unknown key `data.sources[1].wieght`; did you mean `weight`?"),
        (
            {"dataset": "rare.jsonl", "weight": -1},
            "data.sources[1].weight must be a finite number greater than",
        ),
        ({"dataset": "rare.jsonl", "weight": "much"}, "data.sources[1].weight must be a number or null, got 'much'"),
        (
            {"dataset": "rare.jsonl", "format": {"class_path": "Nope"}},
            "data.sources[1].format: no format Nope; there are",
        ),
        ({"dataset": "rare.jsonl", "rows": 2, "weight": 1}, "data.sources[1]: give weight or rows, and not both"),
        ({"weight": 3}, "data.sources[1].dataset: give a hub name"),
    ],
)
def test_a_wrong_key_is_named_with_its_place(here: Path, capsys: Any, source: dict[str, Any], said: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(here, data={"sources": [{"dataset": "helpful.jsonl"}, source]})
    line = stopped.value.code if isinstance(stopped.value.code, str) else capsys.readouterr().err
    assert said in line.strip().splitlines()[-1]
