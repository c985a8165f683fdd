"""The host waits for a GPU only where it says so: a step, the guard of an update, a batch on its way."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils._pytree import tree_leaves

from dpo_lightning import LoRA, PreferenceModule
from dpo_lightning.attention.kernels import flex
from dpo_lightning.batch import PreferenceBatch, TokenizedExample, collate_padded, collate_tree
from dpo_lightning.callbacks import UpdateGuard
from dpo_lightning.utils.late import skip_no_more, skip_where
from tests.attention.rows import tree_of
from tests.gpu.devices import every, moved, no_waits
from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import PAIRS, tiny_llama


@every(
    "lora, layout, dtype",
    [None, LoRA(r=4)],
    [collate_padded, collate_tree],
    [torch.float32, torch.bfloat16],
    cpu=[(LoRA(r=4), collate_tree, torch.bfloat16)],
)
def test_a_training_step_waits_for_nothing(
    device: torch.device, lora: LoRA | None, layout: Callable[..., PreferenceBatch], dtype: torch.dtype
) -> None:
    model = module(lora=lora)
    model.configure_model()
    model.to(device, dtype)
    batches = [moved(layout(pairs), device) for pairs in (PAIRS, PAIRS[:2], PAIRS[:3])]
    for before in batches[:2]:  # the first probes the head and moves the reference; a second length may compile
        model.training_step(before, 0).backward()
    with no_waits(device):
        model.training_step(batches[2], 0).backward()
    assert all(weight.grad is not None for weight in model.parameters() if weight.requires_grad)


def test_the_list_of_blocks_waits_for_nothing(device: torch.device) -> None:
    tree = moved(tree_of(((150, 140, 300), (1, 1, 1))), device)
    with no_waits(device):
        blocks = flex._block_mask(tree, 100.0)
    assert blocks.shape[-2:] == (593, 593)
    assert blocks.kv_num_blocks.device.type == device.type


def test_a_masked_step_changes_nothing_and_waits_for_nothing(device: torch.device) -> None:
    weights = [nn.Parameter(torch.randn(64, 33, device=device)) for _ in range(3)]
    optimizer = AdamW(weights, lr=0.1, weight_decay=0.1, fused=True)

    def step(factor: float, bad: Tensor) -> None:
        for each in weights:
            each.grad = torch.randn_like(each) * factor
        skip_where(optimizer, bad)
        optimizer.step()
        skip_no_more(optimizer)

    def held() -> list[Tensor]:
        states = [value for each in weights for value in optimizer.state[each].values()]
        return [each.detach().clone() for each in [*weights, *states]]

    good, bad = (torch.tensor(flag, device=device) for flag in (False, True))
    step(1.0, good)
    before = held()
    with no_waits(device):
        step(math.nan, bad)
    assert all(map(torch.equal, before, held()))
    step(1.0, good)
    assert not torch.equal(before[0], held()[0])


class NoWaits(pl.Callback):
    """Fails on a wait in an optimizer step between two logs: backward, guard, clipping, optimizer."""

    def __init__(self) -> None:
        self._open = ExitStack()

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        if 2 <= trainer.global_step < 6:
            self._open.enter_context(no_waits(pl_module.device))

    def on_train_batch_end(self, *_: Any) -> None:
        self._open.close()

    def on_exception(self, *_: Any) -> None:
        self._open.close()


class Weights(pl.Callback):
    """Keeps one weight of each step."""

    def __init__(self) -> None:
        self.after: dict[int, Tensor] = {}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.after[trainer.global_step] = next(pl_module.policy.parameters()).detach().clone()


class OneBadLoss(PreferenceModule):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx) * (math.nan if self.global_step == 3 else 1.0)


@pytest.mark.filterwarnings("ignore:.*skipped, 1 of at most 1:UserWarning")
@every("precision", ["32-true", "bf16-mixed"], cpu=[("bf16-mixed",)])
def test_the_guard_skips_on_the_device_without_a_wait(device: torch.device, precision: str, tmp_path: Path) -> None:
    weights, guard = Weights(), UpdateGuard(skips=1)
    run = trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        precision=precision,
        gradient_clip_val=1.0,
        max_steps=8,
        max_epochs=-1,
        log_every_n_steps=100,
        limit_val_batches=0,
        callbacks=[NoWaits(), weights, guard],
    )
    # Rows of some 60 tokens: those of another number of blocks of 128 would be compiled, and timed, in the middle.
    rows = data(tmp_path, 64, val_split=None, batch_pairs=2)
    run.fit(OneBadLoss(tiny_llama(), optimizer=partial(AdamW, lr=1e-2)), rows)
    assert guard.skipped == 1
    assert torch.equal(weights.after[4], weights.after[3])
    assert not torch.equal(weights.after[5], weights.after[4])


def test_a_batch_reaches_the_device_in_two_copies(device: torch.device) -> None:
    examples = [TokenizedExample.pair(row, [1, 2, 3], [4, 5], [6], weight=0.5) for row in range(4)]
    batch = collate_tree(examples)
    here = batch.pin_memory() if device.type == "cuda" else batch
    with no_waits(device):
        there = move_data_to_device(here, device)
    given, arrived = ([each for each in tree_leaves(one) if isinstance(each, Tensor)] for one in (batch, there))
    assert len({each.untyped_storage().data_ptr() for each in arrived}) == 2
    assert all(each.device.type == device.type and each.data_ptr() % 16 == 0 for each in arrived)
    assert all(torch.equal(each.cpu(), other) for each, other in zip(arrived, given, strict=True))
    assert here.input_ids.is_pinned() == (device.type == "cuda")
