"""The page on samples: its config trains, and its commands run as they stand there."""

from __future__ import annotations

import json
import re
import shlex
from inspect import signature
from pathlib import Path

import pytest
import yaml

from dpo_lightning.callbacks import SampleTable
from dpo_lightning.cli.main import main
from dpo_lightning.report.record import RunRecord, read_rows
from tests.helpers.runs import saved_model, write_rows

PAGE = (Path(__file__).resolve().parents[1] / "docs/samples.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_config_trains_and_the_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    saved_model(tmp_path / "policy", initializer_range=0.6)
    config = yaml.safe_load(block("yaml"))
    config["trainer"] |= {"accelerator": "cpu", "max_steps": 4, "log_every_n_steps": 1, "enable_progress_bar": False}
    config["model"] = {"policy": "policy", "optimizer": {"lr": 0.05}}
    config["data"] = {"dataset": write_rows(tmp_path / "pairs.jsonl"), "val_split": "train[:8]", "batch_pairs": 4}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "asked.jsonl").write_text(block("json"))
    main(["fit", "--config", "run.yaml"])
    (file,) = tmp_path.rglob("samples.jsonl")
    rows = read_rows(RunRecord(file.parents[1]).samples)
    assert [row["step"] for row in rows] == [0] * 4 + [2] * 4 + [4] * 4
    assert (file.parents[1] / "samples.md").exists()
    assert "Samples after step 4: 2 of 4 prompts" in capsys.readouterr().out
    first, second = (shlex.split(line)[1:] for line in block("bash").splitlines())
    main(first)
    printed = capsys.readouterr().out
    assert [line.split(":")[0] for line in printed.splitlines() if ":" in line][:2] == ["prompt", "policy"]
    assert "\nreference: " in printed
    main(second)
    assert json.loads(capsys.readouterr().out)["prompt"] == "Why is the sky blue?"


def test_the_page_names_settings_that_are_there() -> None:
    named = {"every_n_steps", "prompts", "samples_per_prompt", "max_new_tokens", "shown", "samples_at_once", "reward"}
    assert named <= signature(SampleTable).parameters.keys()
    assert all(f"`{name}" in PAGE or f"{name}:" in PAGE for name in named)
