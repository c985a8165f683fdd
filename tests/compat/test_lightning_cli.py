"""Lightning's command asks before it takes settings from a checkpoint, and can parse only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Optional

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import BoringModel

from dpo_lightning.compat.lightning_cli import CheckedCheckpointCLI, NotRunning, ParsingOnly, with_one_command


@pytest.fixture(autouse=True)
def _no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on the command line but what is given."""
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])


class Model(BoringModel):
    """Has a setting."""

    def __init__(self, width: int = 1) -> None:
        super().__init__()


class Stub(pl.Trainer):
    """Few settings, which parse fast; cannot be built."""

    def __init__(self, max_steps: int = 1, callbacks: None = None) -> None:
        raise AssertionError("built")

    def fit(self, model: Any = None, ckpt_path: Optional[str] = None) -> None: ...  # type: ignore[override]


class Light(Stub):
    """Can be built, and can do nothing."""

    def __init__(self, max_steps: int = 1, callbacks: None = None) -> None:
        pass


class Asked(CheckedCheckpointCLI, ParsingOnly):
    """Answers as it is told, and keeps what it was asked."""

    answer: bool
    asked: list[Optional[str]]

    def reads_settings_of(self, path: Optional[str]) -> bool:
        self.asked.append(path)
        return self.answer


def parsed(kind: type[LightningCLI], *words: str, trainer: type[pl.Trainer] = Stub) -> Any:
    return kind(Model, trainer_class=trainer, args=["fit", *words])


def test_words_of_the_command_line_are_kept() -> None:
    Asked.answer, Asked.asked = False, []
    assert parsed(Asked, "--model.width=3").words == ["fit", "--model.width=3"]


@pytest.mark.parametrize(("answer", "width"), [(False, 1), (True, 7)], ids=["not read", "defaults"])
def test_settings_of_a_checkpoint_are_read_where_the_answer_is_yes(tmp_path: Path, answer: bool, width: int) -> None:
    checkpoint = str(tmp_path / "a.ckpt")
    torch.save({"hyper_parameters": {"width": 7, "_instantiator": "x"}}, checkpoint)
    (tmp_path / "a.yaml").write_text("model: {width: 5}")
    Asked.answer, Asked.asked = answer, []

    cli = parsed(Asked, f"--ckpt_path={checkpoint}")

    assert Asked.asked == [checkpoint]
    assert cli.config.fit.model.width == width
    assert parsed(Asked, f"--ckpt_path={checkpoint}", "--model.width=3").config.fit.model.width == 3
    in_config = parsed(Asked, f"--config={tmp_path / 'a.yaml'}", f"--ckpt_path={checkpoint}").config.fit
    assert (in_config.model.width, [str(path) for path in in_config.config]) == (5, [str(tmp_path / "a.yaml")])


def test_a_config_as_a_dict_wins_too(tmp_path: Path) -> None:
    checkpoint = str(tmp_path / "a.ckpt")
    torch.save({"hyper_parameters": {"width": 7}}, checkpoint)
    Asked.answer, Asked.asked = True, []
    for model, width in (({}, 7), ({"width": 3}, 3)):
        words = {"subcommand": "fit", "fit": {"ckpt_path": checkpoint, "model": model}}
        assert Asked(Model, trainer_class=Stub, args=words).config.fit.model.width == width


def test_a_word_that_is_no_file_is_not_asked_about() -> None:
    Asked.answer, Asked.asked = False, []
    parsed(Asked, "--ckpt_path=last")
    parsed(Asked)

    assert Asked.asked == [None, None]


def test_what_only_parses_builds_nothing_and_leaves_the_random_numbers_alone() -> None:
    before = torch.get_rng_state()

    cli = parsed(ParsingOnly, "--model.width=3", "--seed_everything=5", "--trainer.max_steps=9")

    assert (cli.config.fit.model.width, cli.config.fit.trainer.max_steps) == (3, 9)
    assert not {"model", "trainer"} & vars(cli).keys()
    assert torch.equal(torch.get_rng_state(), before)


def test_what_does_not_run_is_built_and_sets_no_seed() -> None:
    before = torch.initial_seed()

    cli = parsed(NotRunning, "--seed_everything=5", trainer=Light)

    assert (type(cli.model), type(cli.trainer)) == (Model, Light)
    assert torch.initial_seed() == before != 5


def test_a_cli_has_the_command_alone_that_its_words_begin_with(monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_one_command(LightningCLI, ["fit", "--config", "a.yaml"]).subcommands() == {
        "fit": LightningCLI.subcommands()["fit"]
    }
    for words in ([], ["--config", "fit"], ["fitt"]):
        assert with_one_command(LightningCLI, words) is LightningCLI
    monkeypatch.setattr(sys, "argv", ["dpo-lightning", "validate"])
    found = with_one_command(LightningCLI, None)
    assert (set(found.subcommands()), found.__name__) == ({"validate"}, "LightningCLI")
