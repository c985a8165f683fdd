"""The lines that a fit ends with."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dpo_lightning.callbacks import Export
from dpo_lightning.cli.run_end import SaysHowToGoOn, end_of_fit


def ended(checkpoint: str = "", log_dir: str | None = None, **metrics: float) -> Any:
    return SimpleNamespace(
        callback_metrics={name.replace("_", "/"): torch.tensor(value) for name, value in metrics.items()},
        global_step=12,
        log_dir=log_dir,
        callbacks=[],
        should_stop=False,
        checkpoint_callback=SimpleNamespace(best_model_path=checkpoint, last_model_path=""),
    )


def test_a_run_without_validation_and_files_says_how_long_it_was() -> None:
    assert end_of_fit(ended(), Path("nowhere/config.yaml"), 75.0) == ["ended at optimizer step 12, after 1:15"]


def test_how_far_the_completions_went_is_said_beside_the_accuracy() -> None:
    run = ended(val_loss=0.14071, val_rewards_accuracies=0.9375, val_logratios_chosen=-61.6, val_logratios_rejected=-99)
    assert end_of_fit(run, Path("nowhere/config.yaml"), 1.0)[1] == (
        "held-out pairs: loss 0.1407, reward accuracy 0.9375, log-ratio of chosen -61.6, of rejected -99"
    )


def test_a_policy_that_has_lost_its_text_is_no_success() -> None:
    run = ended(val_loss=0.14071, val_logps_chosen=-100.0, val_logratios_chosen=-61.6, val_rewards_accuracies=0.9375)
    lines = end_of_fit(run, Path("nowhere/config.yaml"), 1.0)

    assert [line.split()[0] for line in lines] == ["ended", "held-out", "warning:"]
    assert "likely broken" in lines[2]


def test_places_and_commands_are_as_one_types_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "my runs"
    run.mkdir()
    (tmp_path / "model").mkdir()
    for name in ("config.yaml", "step=12.ckpt"):
        (run / name).touch()
    lines = end_of_fit(ended(str(run / "step=12.ckpt"), str(run)), run / "config.yaml", 1.0)

    assert lines[1:] == [
        "config in my runs/config.yaml",
        "metrics in my runs",
        "checkpoint in my runs/step=12.ckpt",
        "next: dpo-lightning validate --config 'my runs/config.yaml' \\\n        --ckpt_path 'my runs/step=12.ckpt'",
        "      dpo-lightning generate 'my runs/step=12.ckpt' \\\n"
        "        --config 'my runs/config.yaml' --prompt 'Say hello.'",
        "      dpo-lightning export 'my runs/step=12.ckpt' \\\n        --config 'my runs/config.yaml' --out model-2",
    ]


def commands(lines: list[str]) -> list[list[str]]:
    """The words of each command, as a shell has them."""
    typed = "\n".join(lines).partition("next: ")[2].replace("dpo-lightning", "run")
    shell = subprocess.run(
        ["sh", "-c", f"run() {{ printf '%s\\036' \"$@\"; echo; }}\n{typed}"], capture_output=True, text=True, check=True
    )
    return [line.split("\036")[:-1] for line in shell.stdout.split("\n")[:-1]]


@pytest.mark.parametrize("depth", [1, 3])
def test_commands_fit_the_terminal_and_are_those_that_a_shell_reads(
    depth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path(*["it's my run"] * depth)
    (run / "record").mkdir(parents=True)
    for name in ("config.yaml", "a.ckpt", "record/run.json"):
        (run / name).touch()
    stopped = ended(str(run / "a.ckpt"), str(run))
    stopped.should_stop = True
    lines = end_of_fit(stopped, run / "config.yaml", 1.0)
    config, file = str(run / "config.yaml"), str(run / "a.ckpt")

    assert commands(lines) == [
        ["fit", "--config", config, "--ckpt_path", file],
        ["validate", "--config", config, "--ckpt_path", file],
        ["generate", file, "--config", config, "--prompt", "Say hello."],
        ["report", str(run)],
        ["export", file, "--config", config, "--out", "model"],
    ]
    assert depth > 1 or max(len(row) for line in lines for row in line.splitlines()) < 80


@pytest.mark.parametrize("callback", [EarlyStopping("val/loss"), Timer("00:00:00:01")])
def test_a_run_that_would_end_again_at_once_is_not_to_go_on(callback: Any, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    (tmp_path / "a.ckpt").touch()
    stopped = ended(str(tmp_path / "a.ckpt"), str(tmp_path))
    stopped.should_stop, stopped.callbacks = True, [callback]

    assert not [line for line in end_of_fit(stopped, tmp_path / "config.yaml", 1.0) if "dpo-lightning fit" in line]


@pytest.mark.parametrize(
    ("error", "saved", "said"),
    [
        (SIGTERMException(), True, True),
        (KeyboardInterrupt(), True, True),
        (ValueError(), True, False),
        (KeyboardInterrupt(), False, False),
    ],
)
def test_a_signal_is_answered_with_how_to_go_on(
    error: BaseException, saved: bool, said: bool, tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").touch()
    saving = [ModelCheckpoint("checkpoints")] if saved else []
    run: Any = SimpleNamespace(log_dir=None, default_root_dir=".", callbacks=saving)
    says = SaysHowToGoOn()
    says.on_train_start(run, pl.LightningModule())
    with caplog.at_level("INFO"):
        says.on_exception(run, pl.LightningModule(), error)

    assert caplog.messages == ["next: dpo-lightning fit --config config.yaml --ckpt_path last"] * said


def test_a_checkpoint_that_is_elsewhere_has_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "a.ckpt").touch()

    assert end_of_fit(ended(str(tmp_path / "a.ckpt")), Path("no"), 1.0)[1:] == [f"checkpoint in {tmp_path / 'a.ckpt'}"]


def test_what_a_run_exported_itself_is_what_one_generates_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for directory in ("run", "adapter"):
        (tmp_path / directory).mkdir()
    for name in ("config.yaml", "a.ckpt"):
        (tmp_path / "run" / name).touch()
    without, kept = ended(), ended("run/a.ckpt")
    without.callbacks = kept.callbacks = [Export("adapter")]

    said = [
        [line for line in end_of_fit(run, Path("run/config.yaml"), 1.0) if "dpo-lightning" in line]
        for run in (without, kept)
    ]
    assert said[0] == ["next: dpo-lightning generate adapter --prompt 'Say hello.'"]
    assert [line.partition("dpo-lightning ")[2].split()[0] for line in said[1]] == ["validate", "generate"]


def test_a_fit_that_ends_before_its_validation_does_not_say_that_nothing_was_held_out() -> None:
    without, before = ended(train_loss=0.5), ended(train_loss=0.5)
    without.num_val_batches, before.num_val_batches = [], [3, 0]
    said = [end_of_fit(run, Path("nowhere/config.yaml"), 1.0)[1] for run in (without, before)]
    assert "set data.val_split" in said[0]
    assert said[1] == "the fit ended before a validation: how the policy does on held-out pairs is not known"
