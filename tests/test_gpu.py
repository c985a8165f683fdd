"""What only a GPU shows. Skipped without one."""

from __future__ import annotations

import math

import pytest
import torch

from dpo_lightning import LoRA
from dpo_lightning.data import collate_padded
from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import PAIRS

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("lora", [None, LoRA(r=4)], ids=["full", "lora"])
def test_a_run_starts_at_ln_2_and_learns(tmp_path, precision, lora):
    losses = []
    model = module(lora=lora, lr=1e-2)
    log = model.on_train_batch_end
    model.on_train_batch_end = lambda outputs, *rest: (losses.append(outputs["loss"].item()), log(outputs, *rest))
    trainer(accelerator="gpu", precision=precision, max_steps=12).fit(model, data(tmp_path))
    assert losses[0] == pytest.approx(math.log(2), abs=1e-3)
    assert losses[-1] < 0.6


@pytest.mark.parametrize("lora", [None, LoRA(r=4)], ids=["full", "lora"])
def test_a_training_step_waits_for_nothing(lora):
    model = module(lora=lora)
    model.configure_model()
    model.cuda()
    batch = type(collate_padded(PAIRS))(*(tensor.cuda() for tensor in collate_padded(PAIRS)))
    model.training_step(batch, 0).backward()  # probes the head and moves the reference, once
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        model.training_step(batch, 0).backward()
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
