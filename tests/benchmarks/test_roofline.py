"""Useful work: counted by hand, against masks, and against PyTorch's own counter."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import roofline
from benchmarks.roofline import Work, count_work, gemm_peak, useful_flops
from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data import collate_tree
from tests.helpers.tiny import PAIRS, VOCAB_SIZE, tiny_llama

LENGTH = 40
RANK = 4


def test_work_of_one_pair_by_hand() -> None:
    # P C = 3 + 2 queries see 1 + 2 + 3 + 4 + 5, the one of R the prompt and itself.
    pair = TokenizedExample.pair(0, [1, 2, 3], [4, 5], [6])
    assert count_work([pair]) == Work(tokens=6, scored=3, visible=15 + 4)
    four = TokenizedExample(0, [1, 2, 3], [[4, 5], [6], [7], [8, 9]])
    assert count_work([four]) == Work(tokens=9, scored=6, visible=15 + 4 + 4 + (2 * 3 + 3))


def test_work_is_the_tree_batch() -> None:
    batch, work = collate_tree(PAIRS), count_work(PAIRS)
    assert batch.tree is not None
    visible = 0
    for prompt, (chosen, rejected) in batch.tree.segments:
        for completion, first in ((chosen, 0), (rejected, prompt)):
            size = prompt + completion
            visible += int(torch.ones(size, size).tril()[first:].sum())
    assert work == Work(batch.input_ids.numel(), batch.targets.numel(), visible)


def counted(lora: bool) -> int:
    """FLOPs of a step on one full row: a reference forward, and the policy's forward and backward."""
    model = tiny_llama(attn_implementation="eager")
    reference = tiny_llama(attn_implementation="eager")
    if lora:
        model = get_peft_model(model, LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM"))
    row = torch.ones(1, LENGTH, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        with torch.no_grad():
            reference(row)
        model(row).logits.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_useful_flops_are_those_that_pytorch_counts(lora: bool) -> None:
    config = tiny_llama().config.to_dict()
    assert config["vocab_size"] == VOCAB_SIZE
    # Eager attention computes the whole square.
    useful = useful_flops(Work(LENGTH, LENGTH, LENGTH**2), config, RANK if lora else None)
    if lora:
        # Below the first block nothing is trained: its q, k and v need no gradient of their input, nor do its adapters.
        width, head = config["hidden_size"], config["hidden_size"] // config["num_attention_heads"]
        queries, keys = width, config["num_key_value_heads"] * head
        useful -= 2 * LENGTH * width * (queries + 2 * keys) + 3 * 2 * LENGTH * RANK * width
    # The rest is RoPE's table of angles.
    assert counted(lora) == pytest.approx(useful, rel=1e-3)


def test_the_peak_is_the_fastest_of_the_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {(8, 8, 8): 3.0, (16, 32, 48): 7.0}
    monkeypatch.setattr(roofline, "SQUARES", (8,))
    monkeypatch.setattr(roofline, "TOKENS", 16)
    monkeypatch.setattr(roofline, "gflops", lambda shape, *_: speeds.get(shape, 1.0))
    assert gemm_peak("fp32", "cpu", tiny_llama().config.to_dict()) == 7.0


def test_gflops_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "_seconds", lambda *_: 0.5)
    assert roofline.gflops((10, 20, 30), torch.float32, "cpu") == pytest.approx(2 * 10 * 20 * 30 / 0.5 * 1e-9)
