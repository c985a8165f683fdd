"""The parts of a step that `host.py` measures, each with what is a kernel's left out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.host_launches import Launches, launches_ms
from benchmarks.host_loop import loop_parts
from benchmarks.host_stubs import Shape, rows_of, small_llama, unattended, unscored
from dpo_lightning import AdapterOff, FrozenCopy, LoRA
from dpo_lightning.attention.kernels import Softmax
from dpo_lightning.attention.kernels.varlen import VARLEN
from dpo_lightning.attention.mask import TreeMask
from dpo_lightning.batch import PreferenceBatch, collate_padded, collate_tree, first_completions
from dpo_lightning.policy.lora import add_lora

WINDOW = 4096
_FORWARDS = 2  # policy and reference


def measured_parts(shape: Shape, steps: int) -> dict[str, float]:
    """Process time of each part in ms a step; `steps` is how often each is measured."""
    rows = rows_of(shape)
    places = np.random.default_rng(0).permutation(shape.pairs).tolist()
    examples = rows.in_arrays(places)
    lists = [*examples]
    batch = collate_tree(examples)
    tree, padded = (first_completions(collate, 2) for collate in (collate_tree, collate_padded))
    policy = small_llama(shape.layers)
    device = torch.device("cuda" if torch.cuda.is_available() else "meta")
    found = {
        "read": (lambda: rows.in_arrays(places), 1),
        "collate": (lambda: tree(examples), 1),
        "to device": (lambda: batch.to(device), 1),
        "attention": (attention_driver(batch), shape.layers * _FORWARDS),
        "frozen copy": (reference_switch(FrozenCopy(), policy, batch), 1),
        "collate, padded": (lambda: padded(examples), 1),
        "read lists": (lambda: rows.__getitems__(places), 1),
        "collate lists": (lambda: tree(lists), 1),
        "rule of a window": (window_rule(batch), _FORWARDS),
        "adapter off": (reference_switch(AdapterOff(), add_lora(small_llama(shape.layers), LoRA(r=4)), batch), 1),
    }
    with unattended():
        parts = {name: times * process_ms(run, steps) for name, (run, times) in found.items()}
        with Launches(lambda: "attention") as launches:
            found["attention"][0]()
    parts["launches of attention"] = found["attention"][1] * launches_ms(launches.operations, steps)
    return {**loop_parts(shape, rows, steps), **parts}


def process_ms(run: Callable[[], Any], times: int) -> float:
    """The median of the process time of a call, in ms, behind one that is not counted."""
    run()
    found = []
    for _ in range(max(times, 1)):
        begun = time.process_time()
        run()
        found.append(time.process_time() - begun)
    return statistics.median(found) * 1e3


def attention_driver(batch: PreferenceBatch) -> Callable[[], Any]:
    """One layer's attention of the packed row on CUDA, without the copy of keys and values; `unattended` has no kernel.

    A mask serves all layers of a kind in a forward; the first one finds what the others use again.
    """
    from transformers.masking_utils import causal_mask_function

    tree = batch.tree
    assert tree is not None
    mask = TreeMask(causal_mask_function, tree, batch.input_ids.device)
    row = torch.empty(1, 1, batch.input_ids.shape[1], 8, dtype=torch.bfloat16, device="meta")
    there = tree._replace(**{name: value.to("meta") for name, value in tree._asdict().items() if _is_tensor(value)})
    mask.tree = there
    softmax = Softmax(1.0)
    return lambda: VARLEN.attend(row, row, row, mask, softmax)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def window_rule(batch: PreferenceBatch) -> Callable[[], Any]:
    """The question of each forward whether a window hides anything of the row."""
    from transformers.masking_utils import sliding_window_causal_mask_function

    tree, device = batch.tree, batch.input_ids.device
    assert tree is not None
    return lambda: TreeMask(sliding_window_causal_mask_function(WINDOW), tree, device).is_causal


def reference_switch(settings: Any, policy: nn.Module, batch: PreferenceBatch) -> Callable[[], Any]:
    """Everything that the reference does around its forward."""
    reference = settings.bind(policy.train())

    def scored() -> Any:
        with unscored():
            return reference.token_logps(batch)

    return scored
