"""The table of what a checkpoint holds is what checkpoints of real fits hold, and a format is read or refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelPruning
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.optim import SGD

import dpo_lightning
from dpo_lightning import LoRA, PairedBCO, PreferenceModule, callbacks
from dpo_lightning.callbacks import EMAReference, KeepRecord, ResumableCheckpoint, SampleTable
from dpo_lightning.callbacks.pruned_weights import PrunedWeights
from dpo_lightning.checkpoints import DurableCheckpointIO, problem
from dpo_lightning.checkpoints.contents import (
    ALWAYS,
    CALLBACKS,
    CONTENTS,
    FORMAT,
    FORMAT_VERSION,
    GIVEN_REFERENCE,
    LOOPS,
    MODEL_CONFIG,
    MOVED_REFERENCE,
    NOT_HELD,
    REFERENCE_MOVER,
    RUNNING_MEAN,
    WHOLE,
    markdown_table,
    refuse_incomplete,
    refuse_newer,
)
from dpo_lightning.checkpoints.sharded import consolidated, refuse_code
from dpo_lightning.errors import InputError
from tests.helpers.runs import data, module, saved_model, trainer
from tests.helpers.saved import content, forked, reports
from tests.helpers.shards import write_shards
from tests.helpers.tiny import tiny_llama

RUNS: dict[str, tuple[dict[str, Any], list[Any], set[str]]] = {
    "full": ({}, [KeepRecord, lambda: SampleTable(prompts=1, max_new_tokens=1)], {MODEL_CONFIG}),
    "lora": ({"lora": LoRA(r=2)}, [], set()),
    "moved reference": ({}, [lambda: EMAReference(0.5)], {MODEL_CONFIG, MOVED_REFERENCE, REFERENCE_MOVER}),
    "pruned": ({}, [lambda: ModelPruning("random_unstructured", amount=0.2)], {MODEL_CONFIG}),
    "given reference": ({"reference": tiny_llama()}, [], {MODEL_CONFIG, GIVEN_REFERENCE}),
    "function": ({"optimizer": lambda params: SGD(params, lr=0.1)}, [], {MODEL_CONFIG, NOT_HELD}),
    "text like a number": ({"model_kwargs": {"revision": "1"}}, [], {MODEL_CONFIG, WHOLE}),
    "running mean": ({"objective": PairedBCO()}, [], {MODEL_CONFIG, RUNNING_MEAN}),
}
DATAMODULE = "<PreferenceDataModule>"


def fitted(path: Path, name: str, **settings: Any) -> Path:
    """The checkpoint of a run's third step."""
    model, made, _ = RUNS[name]
    saving = ResumableCheckpoint(str(path / "saved"), every_n_train_steps=3)
    added: dict[str, Any] = {"callbacks": [*(make() for make in made), saving], "enable_checkpointing": True}
    settings = {**added, "logger": CSVLogger(str(path)), **settings}
    policy = saved_model(path / "model")
    trainer(**settings).fit(module(policy, **model), data(path))
    return path / "saved/step=3.ckpt"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each run has saved."""
    paths = {name: tmp_path_factory.mktemp("run") for name in RUNS}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PL_GLOBAL_SEED", "1")
        return {name: torch.load(fitted(path, name), weights_only=True) for name, path in paths.items()}


def table_keys(*, always: bool) -> set[str]:
    return {entry.key.strip("<>") for entry in CONTENTS if "/" not in entry.key and (entry.when == ALWAYS) is always}


@pytest.mark.parametrize("name", RUNS)
def test_a_checkpoint_holds_what_the_table_says(name: str, saved: dict[str, dict[str, Any]]) -> None:
    sometimes = RUNS[name][2] | {DATAMODULE.strip("<>")}
    assert saved[name].keys() == table_keys(always=True) | sometimes


def test_the_table_names_no_key_that_none_holds(saved: dict[str, dict[str, Any]]) -> None:
    held = {key for checkpoint in saved.values() for key in checkpoint}
    assert held == table_keys(always=True) | table_keys(always=False)


OWN = {name: kind for name, kind in vars(callbacks).items() if isinstance(kind, type)} | {
    "PrunedWeights": PrunedWeights
}
OF_CALLBACKS = [entry for entry in CONTENTS if entry.key.startswith(f"{CALLBACKS}/")]


def states(checkpoint: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What this package's callbacks keep in a checkpoint, by the class that the table names."""
    named = {entry.key.split("/")[1].strip("<>") for entry in OF_CALLBACKS}
    found: dict[str, dict[str, Any]] = {}
    for key, state in checkpoint[CALLBACKS].items():
        if (kind := OWN.get(key.partition("{")[0])) is not None:
            (name,) = named & {each.__name__ for each in kind.__mro__}
            assert name not in found
            found[name] = state
    return found


def test_a_callbacks_state_is_what_the_table_says(saved: dict[str, dict[str, Any]]) -> None:
    """Every key of every callback, and none that no run has."""
    held: set[tuple[str, ...]] = set()
    for checkpoint in saved.values():
        for name, state in states(checkpoint).items():
            held |= {(f"<{name}>", key) for key in state}
            held |= {(f"<{name}>", "ranks", key) for key in (state["ranks"][0] if "ranks" in state else ())}
    assert held == {tuple(entry.key.split("/")[1:]) for entry in OF_CALLBACKS}


def test_callbacks_of_every_run_are_in_every_checkpoint(saved: dict[str, dict[str, Any]]) -> None:
    always = {entry.key.split("/")[1].strip("<>") for entry in OF_CALLBACKS if entry.when == ALWAYS}
    for checkpoint in saved.values():
        assert always <= states(checkpoint).keys()
    assert saved["full"][LOOPS]["fit_loop"]


def test_the_shards_of_a_run_hold_what_a_file_does(tmp_path: Path, saved: dict[str, dict[str, Any]]) -> None:
    """One process, with the strategy that shards, in a child: it leaves a process group."""

    def fits(report: Any) -> None:
        os.environ["MASTER_PORT"] = "0"
        strategy = ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=1)
        path = fitted(tmp_path, "full", strategy=strategy)
        report(str(sorted(consolidated(path))))

    assert reports(*forked(fits)) == [str(sorted(saved["full"]))]


@pytest.mark.parametrize("name", RUNS)
def test_a_checkpoint_says_its_format_and_who_wrote_it(name: str, saved: dict[str, dict[str, Any]]) -> None:
    assert saved[name][FORMAT] == {"format": FORMAT_VERSION, "version": dpo_lightning.__version__}


def test_a_checkpoint_from_before_there_were_formats_is_read(tmp_path: Path) -> None:
    path = fitted(tmp_path, "full")
    before = torch.load(path, weights_only=True)
    del before[FORMAT]
    torch.save(before, path)
    assert problem(path) is None
    fit = trainer(callbacks=[ResumableCheckpoint(str(tmp_path / "saved"), 1)], enable_checkpointing=True, max_steps=4)
    fit.fit(module(str(tmp_path / "model")), data(tmp_path), ckpt_path="last")
    assert fit.global_step == 4
    loaded = PreferenceModule.load_from_checkpoint(path)
    assert all(torch.equal(value, before["state_dict"][key]) for key, value in loaded.state_dict().items())
    assert torch.load(tmp_path / "saved/step=4.ckpt", weights_only=True)[FORMAT]["format"] == FORMAT_VERSION


NEWER = {"format": FORMAT_VERSION + 1, "version": "9.8.7"}
REFUSED = (
    rf"^checkpoint .*step=3.ckpt has format {FORMAT_VERSION + 1}, written by dpo_lightning 9.8.7, and .* reads formats "
    rf"up to {FORMAT_VERSION}: install dpo_lightning 9.8.7 or newer$"
)


def test_a_newer_format_is_refused_wherever_it_is_read(tmp_path: Path) -> None:
    path = fitted(tmp_path, "full")
    torch.save({**torch.load(path, weights_only=True), FORMAT: NEWER}, path)
    saving = ResumableCheckpoint(str(tmp_path / "saved"), 1)
    fit = trainer(callbacks=[saving], enable_checkpointing=True)
    with pytest.raises(InputError, match=REFUSED):
        fit.fit(module(), data(tmp_path), ckpt_path="last")
    with pytest.raises(InputError, match=REFUSED):
        PreferenceModule.load_from_checkpoint(path)
    with pytest.raises(InputError, match=REFUSED):
        PreferenceModule.load_from_checkpoint(path, weights_only=False)
    for weights_only in (None, False):
        with pytest.raises(InputError, match=REFUSED):
            DurableCheckpointIO().load_checkpoint(path, weights_only=weights_only)


@pytest.mark.parametrize("read", [consolidated, refuse_code])
def test_newer_shards_are_refused(read: Any, tmp_path: Path) -> None:
    written = {**content(), "optimizer_states": [], FORMAT: NEWER}
    path = write_shards(written, tmp_path / "step=3.ckpt")
    with pytest.raises(InputError, match=REFUSED):
        read(path)


@pytest.mark.parametrize("mark", [None, 3, {}, {"format": "1"}])
def test_a_mark_that_says_no_format_is_refused(mark: Any) -> None:
    with pytest.raises(InputError, match="says no format"):
        refuse_newer({FORMAT: mark}, "a.ckpt")


def test_older_formats_are_read() -> None:
    refuse_newer({})
    refuse_newer([1])
    for number in range(FORMAT_VERSION + 1):
        refuse_newer({FORMAT: {"format": number, "version": "0.0.1"}})


def test_the_table_is_markdown() -> None:
    lines = markdown_table().splitlines()
    assert len(lines) == len(CONTENTS) + 2
    assert {line.count("|") for line in lines} == {7}
    assert any(line.startswith(f"| `{FORMAT}` |") for line in lines)
    assert len({entry.key for entry in CONTENTS}) == len(CONTENTS)
    assert all(0 <= entry.since <= FORMAT_VERSION for entry in CONTENTS)


def test_our_keys_are_spelled_in_the_table_alone() -> None:
    package = Path(dpo_lightning.__file__).parent
    for key in (MODEL_CONFIG, MOVED_REFERENCE):
        files = [file.name for file in package.rglob("*.py") if f'"{key}"' in file.read_text()]
        assert files == ["contents.py"], key


def test_class_paths_of_the_format_before_are_found(tmp_path: Path) -> None:
    run = trainer(max_steps=1)
    run.fit(module(saved_model(tmp_path / "model")), data(tmp_path))
    run.save_checkpoint(tmp_path / "now.ckpt")
    saved = torch.load(tmp_path / "now.ckpt", weights_only=True)
    del saved[FORMAT]
    saved["hyper_parameters"]["schedule"]["class_path"] = "dpo_lightning.schedules.Linear"
    torch.save(saved, tmp_path / "before.ckpt")
    again = PreferenceModule.load_from_checkpoint(tmp_path / "before.ckpt")
    assert again.hparams["schedule"]["class_path"] == "dpo_lightning.Linear"
    assert torch.equal(next(again.policy.parameters()), saved["state_dict"]["policy.model.embed_tokens.weight"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loops": None}, "its key loops holds NoneType in the place of a mapping: take another checkpoint"),
        ({"optimizer_states": {}}, "its key optimizer_states holds dict in the place of a list"),
        ({"pytorch-lightning_version": 2}, "holds int in the place of a text"),
    ],
)
def test_values_that_are_none_of_a_key_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        refuse_newer({"state_dict": {}, **changes}, "a.ckpt")


def test_what_a_fit_needs_is_asked_for() -> None:
    refuse_incomplete({"loops": {}, "callbacks": {}})
    with pytest.raises(InputError, match="the checkpoint has no loops and no callbacks: give one"):
        refuse_incomplete({"state_dict": {}})
