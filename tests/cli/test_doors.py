"""Every command but `fit` with a wrong path, file, flag or value: one line, and nothing written."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dpo_lightning.cli.main import main
from tests.helpers.runs import saved_model, write_rows


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended, its checkpoint, and files that are none."""
    there = tmp_path_factory.mktemp("doors")
    saving = {"class_path": "ResumableCheckpoint", "init_args": {"dirpath": str(there / "saved")}}
    config: dict[str, Any] = {
        "model": {"policy": saved_model(there / "model")},
        "data": {"dataset": write_rows(there / "pairs.jsonl"), "val_split": "train[:8]", "batch_pairs": 8},
        "trainer": {"accelerator": "cpu", "max_steps": 1, "logger": False, "callbacks": [saving]},
    }
    config["trainer"] |= {"enable_progress_bar": False, "default_root_dir": str(there)}
    (there / "run.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(there / "run.yaml")])
    (there / "saved/step=1.ckpt").rename(there / "good.ckpt")
    (there / "empty.ckpt").write_bytes(b"")
    (there / "half.ckpt").write_bytes((there / "good.ckpt").read_bytes()[:1000])
    torch.save({"weight": torch.ones(1)}, there / "weights.ckpt")
    torch.save([1], there / "list.ckpt")
    (there / "directory").mkdir()
    (there / "directory/precious").write_text("words")
    (there / "numbers.yaml").write_text("model: [1]\ndata: 3\n")
    return there


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run's directory as the working directory."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    return project


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The last line of a command that must fail, and must leave everything as it was."""
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stopped:
        main([*words])
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()} == before
    code = stopped.value.code
    assert code not in (0, None)
    line = code if isinstance(code, str) else capsys.readouterr().err.strip().splitlines()[-1]
    assert len(line.splitlines()) == 1
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def rewards_at(path: str) -> str:
    return f"--trainer.callbacks={json.dumps([{'class_path': 'WriteRewards', 'init_args': {'path': path}}])}"


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
@pytest.mark.parametrize(
    ("checkpoint", "line"),
    [
        ("nowhere.ckpt", "checkpoint nowhere.ckpt: there is no such file"),
        ("directory", "checkpoint directory is a directory, and none of shards"),
        ("empty.ckpt", "checkpoint empty.ckpt: it is no whole torch checkpoint"),
        ("half.ckpt", "checkpoint half.ckpt: it is no whole torch checkpoint"),
        ("weights.ckpt", "checkpoint weights.ckpt is none of a run"),
        ("list.ckpt", "checkpoint list.ckpt is none of a run"),
    ],
)
def test_what_is_no_checkpoint(here: Path, capsys: Any, command: str, checkpoint: str, line: str) -> None:
    assert refusal(capsys, command, "--config", "run.yaml", "--ckpt_path", checkpoint).startswith(line)


@pytest.mark.parametrize(
    "checkpoint", ["nowhere.ckpt", "empty.ckpt", "half.ckpt", "weights.ckpt", "list.ckpt", "directory"]
)
def test_a_fit_does_not_go_on_from_what_is_none(here: Path, capsys: Any, checkpoint: str) -> None:
    line = refusal(capsys, "fit", "--config", "run.yaml", "--ckpt_path", checkpoint)
    assert line.startswith(f"checkpoint {checkpoint}")


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--model.objective.beta=5.0", "the checkpoint's run had objective.beta 0.1, and this run asks for 5.0"),
        ("--data.seed=7", "the checkpoint was written with seed 0, this run has 7"),
        ("--ckpt_path= ", "ckpt_path is empty"),
    ],
)
def test_a_fit_that_is_refused_leaves_the_config_of_the_run(here: Path, capsys: Any, flag: str, line: str) -> None:
    words = ["fit", "--config", "run.yaml", "--trainer.max_steps=2", "--ckpt_path=good.ckpt", flag]
    assert refusal(capsys, *words).startswith(line)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("directory", "trainer.callbacks[0]: WriteRewards.path: give a name that ends in .jsonl or .parquet, got"),
        ("run.yaml/rewards.jsonl", "WriteRewards.path: "),
        ("", "trainer.callbacks[0]: WriteRewards.path: give a name that ends in .jsonl or .parquet, got ''"),
    ],
)
def test_rewards_that_cannot_be_written_are_refused_before_the_prediction(
    here: Path, capsys: Any, path: str, line: str
) -> None:
    words = ["predict", "--config", "run.yaml", "--ckpt_path=good.ckpt", rewards_at(path)]
    assert refusal(capsys, *words).startswith(line)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere.ckpt", "--out", "out"], "nowhere.ckpt"),
        (["directory", "--out", "out"], "directory"),
        (["half.ckpt", "--out", "out"], "half.ckpt"),
        (["weights.ckpt", "--out", "out"], "weights.ckpt"),
        (["list.ckpt", "--out", "out"], "list.ckpt"),
        (["good.ckpt", "--out", "run.yaml"], "export to run.yaml: there is a file"),
        (["good.ckpt", "--out", "directory"], "export to directory: there is a directory that holds no model"),
        (["good.ckpt", "--out", "run.yaml/out"], "--out"),
        (["good.ckpt", "--out", "out", "--config", "nowhere.yaml"], "export --config nowhere.yaml"),
        (["good.ckpt", "--out", "out", "--config", "numbers.yaml"], "export --config numbers.yaml"),
        (["good.ckpt", "--out", "out", "--dtype", "int8"], "export: dtype 'int8' is not known"),
        (["good.ckpt"], "export: say what to write"),
    ],
)
def test_exports(here: Path, capsys: Any, words: list[str], line: str) -> None:
    assert line in refusal(capsys, "export", *words)


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--utilization=nan", "utilization"),
        ("--prompt_tokens=-5", "plan: --prompt_tokens must be at least 1"),
        ("--completion_tokens=0", "plan: --completion_tokens must be at least 1"),
        ("--devices=0", "plan: --utilization is between 0 and 1, and --devices at least 1"),
        ("--model.policy=directory", "model 'directory': "),
        ("--gpu=X", "plan: --gpu X is not known; there are "),
    ],
)
def test_plans(here: Path, capsys: Any, flag: str, line: str) -> None:
    assert line in refusal(capsys, "plan", "--config", "run.yaml", flag)


@pytest.mark.parametrize("days", ["nan", "-1", "inf"])
def test_an_age_that_is_none(here: Path, capsys: Any, days: str) -> None:
    line = refusal(capsys, "cache", "prune", "--cache_dir", "directory", f"--older_than={days}")
    assert line.startswith("cache prune: --older_than must be ")


@pytest.mark.parametrize("text", ["yes", "on", "off"])
def test_a_bool_is_true_or_false(here: Path, capsys: Any, text: str) -> None:
    line = refusal(capsys, "validate", "--config", "run.yaml", f"--model.dropout={text}")
    assert line.startswith("model.dropout: expected true or false")


@pytest.mark.parametrize(("key", "value"), [("model.model_kwargs", "revision"), ("data.load_options", "name")])
def test_a_number_in_the_place_of_text(here: Path, capsys: Any, key: str, value: str) -> None:
    line = refusal(capsys, "validate", "--config", "run.yaml", f"--{key}={json.dumps({value: 1.0})}")
    assert line.startswith(f"{key}.{value} must be text or null, got 1.0")


@pytest.mark.parametrize("written", [0, 1], ids=["at the start", "in the middle"])
@pytest.mark.parametrize("command", ["predict", "export"])
def test_a_disk_that_is_full(here: Path, capsys: Any, monkeypatch: Any, command: str, written: int) -> None:
    sync, done = os.fsync, []

    def full(descriptor: int) -> None:
        if len(done) >= written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done.append(sync(descriptor))

    monkeypatch.setattr(os, "fsync", full)
    words = ["export", "good.ckpt", "--out", "out"]
    if command == "predict":
        words = ["predict", "--config", "run.yaml", "--ckpt_path=good.ckpt", rewards_at("rewards.jsonl")]
    assert os.strerror(errno.ENOSPC) in refusal(capsys, *words)
    assert not [path.name for path in here.glob("*") if path.name.startswith((".", "out", "rewards"))]
