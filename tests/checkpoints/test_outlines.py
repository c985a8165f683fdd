"""A strategy that shards refuses what does not fit in one line, before it loads."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.optim import SGD, Adam

from dpo_lightning import DPO, Cosine, LoRA
from dpo_lightning.callbacks import ResumableCheckpoint
from dpo_lightning.checkpoints.outlines import outline
from tests.helpers.runs import data, module, saved_model, trainer
from tests.helpers.saved import forked, reports
from tests.helpers.shards import write_shards

ADAPTER = {"lora": LoRA(r=2)}
# What the run asks for that goes on, and the beginning of what it is told.
REFUSED = {
    "another optimizer": ({"optimizer": partial(SGD, lr=0.1)}, "the checkpoint's run had optimizer AdamW, and this"),
    "an optimizer with the same state": (
        {"optimizer": partial(Adam, lr=1e-3)},
        "the checkpoint's run had optimizer AdamW, and this",
    ),
    "another rate": ({"lr": 0.1}, "the checkpoint's run had optimizer.lr 0.001, and this run asks for 0.1"),
    "another objective": ({"objective": DPO(beta=5.0)}, "the checkpoint's run had objective.beta 0.1, and this"),
    "another schedule": ({"schedule": Cosine(warmup=0)}, "the checkpoint's run had schedule Constant, and this run"),
    "another base": ({"policy": "other"}, "the checkpoint was trained on other base weights than this run's policy"),
    "a wider base": ({"policy": "wide"}, "the checkpoint was trained on a model whose config has intermediate_size"),
    "another adapter": ({"lora": LoRA(r=4)}, "the checkpoint's adapter has lora.r 2, and this run asks for 4"),
    "an adapter elsewhere": (
        {"lora": LoRA(r=2, target_modules=["q_proj"])},
        "the checkpoint's adapter has lora.target_modules",
    ),
    "no adapter": ({"lora": None}, "the checkpoint's trainable parameters are not this run's: 21 missing"),
}


def fit(path: Path, *callbacks, ckpt_path: str | None = None, steps: int = 3, policy: str = "model", **settings):
    strategy = ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=1)
    run = trainer(max_steps=steps, callbacks=list(callbacks), enable_checkpointing=bool(callbacks), strategy=strategy)
    model = module(str(path / policy), **{**ADAPTER, **settings})
    run.fit(model, data(path), ckpt_path=None if ckpt_path is None else str(path / ckpt_path))
    return run


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, str]:
    """What each run was told, or what it came to; in a child, since the strategy leaves a process group."""
    path = tmp_path_factory.mktemp("outlines")
    saved_model(path / "model")
    saved_model(path / "other", seed=9)
    saved_model(path / "wide", intermediate_size=64)

    def fits(report):
        os.environ["MASTER_PORT"] = "0"
        fit(path, ResumableCheckpoint(str(path / "saved"), 1))
        for name, (settings, _) in REFUSED.items():
            try:
                fit(path, ckpt_path="saved/step=3.ckpt", **settings)
            except BaseException as error:
                report(f"{name}\t{type(error).__name__}\t{str(error)!r}")
        settings = {"optimizer": partial(SGD, lr=0.1, momentum=0.5), "schedule": Cosine(warmup=0), "resume": "changed"}
        run = fit(path, ckpt_path="saved/step=3.ckpt", steps=6, **settings)
        report(f"changed\t{run.global_step}\t{sorted({key for s in run.optimizers[0].state.values() for key in s})}")
        run = fit(path, ckpt_path="saved/step=3.ckpt", steps=4, lr=0.1, resume="changed")
        report(f"rate\t{run.global_step}\t{[group['lr'] for group in run.optimizers[0].param_groups]}")
        run = trainer(max_steps=2)
        run.fit(module(str(path / "model"), **ADAPTER), data(path))
        for name, weights_only in (("file", False), ("weights", True)):
            run.save_checkpoint(path / f"{name}.ckpt", weights_only)
            try:
                fit(path, ckpt_path=f"{name}.ckpt")
            except BaseException as error:
                report(f"{name}\t{type(error).__name__}\t{str(error)!r}")
        run = trainer(max_steps=2)
        run.fit(module(str(path / "model")), data(path))
        run.save_checkpoint(path / "whole.ckpt")
        try:
            fit(path, ckpt_path="whole.ckpt", lora=None)
        except BaseException as error:
            report(f"whole file, fit\t{type(error).__name__}\t{str(error)!r}")
        found = []
        for strategy in ("auto", ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=1)):
            run, model = trainer(strategy=strategy), module(str(path / "model"))
            found += run.validate(model, data(path), str(path / "whole.ckpt"), verbose=False)
        report(f"whole file\t{abs(found[0]['val/loss'] - found[1]['val/loss']) < 1e-6}\t")

    lines = reports(*forked(fits))
    return {line.partition("\t")[0]: line.partition("\t")[2] for line in lines}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_one_line(case, said):
    kind, _, line = said[case].partition("\t")
    assert kind == "InputError"
    assert REFUSED[case][1] in line
    assert "\\n" not in line


def test_other_settings_are_applied_where_that_is_said(said):
    assert said["changed"] == "6\t['momentum_buffer']"
    assert said["rate"] == "4\t[0.1]"


def test_a_file_is_validated_where_it_holds_all_weights(said):
    assert said["whole file"].startswith("True\t")
    assert "would give its optimizer's state to other parameters" in said["whole file, fit"]
    assert "is a file without the weights that its run did not train" in said["file"]
    assert "the checkpoint holds weights only, and no lr_schedulers" in said["weights"]


def test_an_outline_says_the_same_of_a_file_and_of_shards(tmp_path):
    run = trainer(max_steps=1)
    run.fit(module(), data(tmp_path))
    run.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    one, other = outline(tmp_path / "a.ckpt"), outline(write_shards(saved, tmp_path / "shards"))
    assert one.shapes == other.shapes == {name: value.shape for name, value in saved["state_dict"].items()}
    assert one.rest.keys() - other.rest.keys() == {"state_dict", "optimizer_states"}
    assert (one.is_sharded, other.is_sharded) == (False, True)
