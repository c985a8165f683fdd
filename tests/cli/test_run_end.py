"""The lines that a fit ends with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dpo_lightning.callbacks import Export
from dpo_lightning.cli.run_end import end_of_fit


def ended(checkpoint: str = "", log_dir: str | None = None, **metrics: float) -> Any:
    return SimpleNamespace(
        callback_metrics={name.replace("_", "/"): torch.tensor(value) for name, value in metrics.items()},
        global_step=12,
        log_dir=log_dir,
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
        "next: dpo-lightning validate --config 'my runs/config.yaml' --ckpt_path 'my runs/step=12.ckpt'",
        "      dpo-lightning generate 'my runs/step=12.ckpt' --config 'my runs/config.yaml' --reference --prompt TEXT",
        "      dpo-lightning export 'my runs/step=12.ckpt' --config 'my runs/config.yaml' --out model-2",
    ]


def test_a_checkpoint_that_is_elsewhere_has_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "a.ckpt").touch()

    assert end_of_fit(ended(str(tmp_path / "a.ckpt")), Path("no"), 1.0)[1:] == [f"checkpoint in {tmp_path / 'a.ckpt'}"]


def test_what_a_run_exported_itself_is_what_one_generates_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for directory in ("run", "adapter"):
        (tmp_path / directory).mkdir()
    for name in ("config.yaml", "report.html", "a.ckpt"):
        (tmp_path / "run" / name).touch()
    without, kept = ended(), ended("run/a.ckpt")
    without.callbacks = kept.callbacks = [Export("adapter")]

    next_of = [[line[6:] for line in end_of_fit(run, Path("run/config.yaml"), 1.0)[3:]] for run in (without, kept)]
    assert next_of[0] == ["dpo-lightning generate adapter --prompt TEXT", "dpo-lightning report run ANOTHER_RUN"]
    assert [line.split()[1] for line in next_of[1][1:]] == ["validate", "generate", "report"]


def test_a_fit_that_ends_before_its_validation_does_not_say_that_nothing_was_held_out() -> None:
    without, before = ended(train_loss=0.5), ended(train_loss=0.5)
    without.num_val_batches, before.num_val_batches = [], [3, 0]
    said = [end_of_fit(run, Path("nowhere/config.yaml"), 1.0)[1] for run in (without, before)]
    assert "set data.val_split" in said[0]
    assert said[1] == "the fit ended before a validation: how the policy does on held-out pairs is not known"
