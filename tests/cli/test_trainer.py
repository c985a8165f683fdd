"""The Trainer's commands, part by part; `test_main.py` runs them whole."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import pytest
import torch
from jsonargparse import Namespace

from dpo_lightning import WriteRewards
from dpo_lightning.cli.fit_config import SaveFitConfig
from dpo_lightning.cli.trainer import OneLineParser, PreferenceCLI, refuse_unreachable
from dpo_lightning.errors import InputError
from tests.helpers.runs import module, trainer
from tests.helpers.saved import TouchesAFile, spoil


class Part(PreferenceCLI):
    """The command with a config and a Trainer, without having parsed or built them."""

    def __init__(self, subcommand: str = "fit", run: Any = None, **settings: Any) -> None:
        self.config = Namespace({"subcommand": subcommand, subcommand: Namespace({"trainer": Namespace(), **settings})})
        self.trainer = run


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    parser = OneLineParser()
    parser.add_argument("--steps", type=int)
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(list(words))
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_a_wrong_key_is_one_line_with_the_nearest_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "--stepps=3") == "error: unknown key `stepps`; did you mean `steps`?\n"


def test_a_key_is_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "--step=3") == "error: unknown key `step`; did you mean `steps`?\n"


def test_flags_of_a_fit_win_whatever_the_checkpoint_is(tmp_path: Path) -> None:
    assert not Part("fit").reads_settings_of(str(tmp_path / "no.ckpt"))


def test_another_command_examines_the_checkpoint_whose_settings_it_takes(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"hyper_parameters": {}}, path)
    assert Part("validate").reads_settings_of(str(path))
    assert Part("validate").reads_settings_of(None)

    spoil(path)
    with pytest.raises(InputError, match=r"a\.ckpt: its record .* is corrupt"):
        Part("validate").reads_settings_of(str(path))
    torch.save({"hyper_parameters": TouchesAFile(tmp_path / "ran")}, path)
    with pytest.raises(InputError, match=r"a\.ckpt holds more than plain types"):
        Part("validate").reads_settings_of(str(path))
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def _threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The number of threads is given back; the process is no rank, which would be tied to its parent."""
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize(("asked", "threads"), [(None, 2), (3, 3)])
def test_threads_are_set_where_they_are_asked_for(asked: int | None, threads: int) -> None:
    Part(torch_threads=asked).before_instantiate_classes()

    assert torch.get_num_threads() == threads


def test_a_prediction_is_written_once() -> None:
    run = trainer()
    for _ in range(2):
        Part("predict", run).before_predict()

    assert sum(isinstance(callback, WriteRewards) for callback in run.callbacks) == 1


def test_a_fit_says_how_it_ended(caplog: pytest.LogCaptureFixture) -> None:
    metrics = {"val/loss": torch.tensor(0.25), "val/rewards/accuracies": torch.tensor(0.5)}
    run = SimpleNamespace(
        callback_metrics=metrics, log_dir="runs/1", global_step=7, checkpoint_callback=None, is_global_zero=False
    )
    command = Part(run=run)
    command.before_fit()
    with caplog.at_level(logging.INFO):
        command.after_fit()

    steps, held_out = caplog.messages
    assert steps.startswith("ended at optimizer step 7, after 0:0")
    assert held_out == "held-out pairs: loss 0.25, reward accuracy 0.5"


def with_secrets() -> tuple[OneLineParser, list[str]]:
    parser = OneLineParser()
    parser.add_argument("--config", action="config")
    parser.add_argument("--token", type=Optional[str])
    parser.add_argument("--dataset", type=str)
    parser.add_argument("--load_options", type=Optional[dict[str, Any]])
    options = '{"token": "t0p", "storage_options": {"key": "k3y", "secret": "s3cret"}, "revision": "main"}'
    return parser, ["--token=t0p", "--dataset=s3://me:w0rd@bucket/x", f"--load_options={options}"]


def test_no_secret_is_saved_or_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser, words = with_secrets()
    saving = SaveFitConfig(parser, parser.parse_args(words))
    saving.on_train_batch_start(trainer(default_root_dir=tmp_path), module(), None, 0)
    with pytest.raises(SystemExit):
        parser.parse_args([*words, "--print_config"])
    for text in ((tmp_path / "config.yaml").read_text(), capsys.readouterr().out):
        assert not [secret for secret in ("t0p", "w0rd", "k3y", "s3cret") if secret in text], text
        assert text.count("***") == 5
        assert "revision: main" in text
    assert saving.config.token == "t0p", "the run itself has it"


def test_a_saved_config_says_which_secret_to_give() -> None:
    config = {"model": {"init_args": {"model_kwargs": {"token": "***"}}}}
    with pytest.raises(InputError, match=r"^model\.init_args\.model_kwargs\.token is masked.*HF_TOKEN, or as --model"):
        Part("fit", **config).before_instantiate_classes()


def test_a_refusal_holds_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "--token=t0psecret\x1b[31m")
    assert "t0psecret" not in line
    assert "\x1b" not in line


def test_a_checkpoint_in_a_file_system_that_nothing_reads_is_refused_by_its_key() -> None:
    with pytest.raises(InputError, match=r"^ckpt_path: nosuch://a/b.ckpt: .*: or download it, and give the file$"):
        refuse_unreachable("nosuch://a/b.ckpt")
    for passes in (None, "last", "http://a/b.ckpt", "memory://b.ckpt", "/a/b.ckpt"):
        refuse_unreachable(passes)
