"""The formulas of `dpo_lightning.estimate` against what a training step allocates: `python -m benchmarks.memory_check`.

Each case runs in a process of its own, on a CPU, with policy and reference as a run holds them, of a checkpoint in
bfloat16. Bytes are those of tensors, counted one by one as operations make them
and as they are freed, so neither the allocator nor the interpreter blurs them. Operations are those of matrix products,
counted one by one too; the time is the fastest of some steps, beside that of a large matrix product.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import environment
from benchmarks.allocated_bytes import AllocatedBytes
from benchmarks.own_process import run_part
from benchmarks.recording import peak_mib
from benchmarks.roofline import gflops
from dpo_lightning.attention.kernels.blocked import KEPT_BYTES

RESULTS = Path(__file__).parent / "results" / "memory.json"
LLAMA, NEOX, GPT2 = "llama", "gpt_neox", "gpt2"
_BASE = {
    "architecture": LLAMA,
    "size": "5m",
    "precision": "32-true",
    "lora": False,
    "checkpointing": False,
    "tree": True,
    "reference": None,
}
CASES: list[dict[str, Any]] = [
    {**_BASE, **change}
    for change in (
        {},
        {"precision": "bf16-mixed"},
        {"precision": "bf16-true"},
        {"lora": True},
        {"lora": True, "precision": "bf16-true"},
        {"checkpointing": True},
        {"tree": False},
        {"size": "29m"},
        {"size": "29m", "precision": "bf16-mixed", "checkpointing": True},
        {"size": "29m", "lora": True, "precision": "bf16-mixed"},
        {"lora": True, "precision": "bf16-mixed", "reference": "copy"},
        {"lora": True, "precision": "bf16-mixed", "reference": "other"},
        {"precision": "bf16-mixed", "reference": "other"},
        {"precision": "bf16-mixed", "reference": "moved"},
        {"precision": "bf16-true", "reference": "moved"},
        {"architecture": NEOX},
        {"architecture": GPT2},
    )
]
# Hidden size, layers, heads, key/value heads, MLP size, vocabulary.
_SIZES = {"5m": (256, 4, 8, 4, 704, 4096), "29m": (512, 8, 8, 4, 1376, 8192)}
_PAIRS, _PROMPT, _COMPLETION = 4, 160, 60
_STEPS = 5
_SQUARE = (1024, 1024, 1024)


def _product_flops(_: Any, left: Any, right: Any, **__: Any) -> int:
    """The operations of a product that is added in place, by the shapes of its operands."""
    return 2 * left[0] * left[1] * right[1]


_IN_PLACE = {torch.ops.aten.addmm_: _product_flops}  # which torch does not count by itself


def model_config(case: dict[str, Any]) -> dict[str, Any]:
    """The config of the case's model, as transformers' keywords."""
    hidden, layers, heads, groups, inner, vocabulary = _SIZES[case["size"]]
    config = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": 512,
    }
    if case["architecture"] == LLAMA:
        config |= {"num_key_value_heads": groups, "tie_word_embeddings": False}
    if case["architecture"] == GPT2:
        config["n_inner"] = config.pop("intermediate_size")
    return config


def predict(case: dict[str, Any]) -> dict[str, float]:
    """Bytes by the formulas."""
    from transformers import AutoConfig

    from dpo_lightning.estimate import Mesh, Numerics, Workload, device_memory, memory, model_shape, step_flops
    from dpo_lightning.policy.prepare import PolicyOptions

    with tempfile.TemporaryDirectory() as folder:
        AutoConfig.for_model(case["architecture"], **model_config(case)).save_pretrained(folder)
        shape = model_shape(folder, _options(case))
        other = model_shape(folder, PolicyOptions()) if case["reference"] == "other" else None
    work, state = Workload(_PAIRS, _PROMPT, _COMPLETION, case["tree"]), _state(case)
    numerics = Numerics.of(case["precision"], saved=torch.bfloat16)
    held = device_memory(shape, work, numerics, state, Mesh(), reference=other)
    layer = work.tokens * memory.layer_bytes(shape, numerics)  # the CPU's attention keeps each key once
    norm = 8 * work.tokens * shape.hidden
    kept: float = numerics.weight * shape.hidden
    if case["checkpointing"] == "selective":  # of which a CPU's tree attention is no part
        kept += memory.products_bytes(shape, numerics) - numerics.activation * shape.heads
    saved = norm + shape.layers * (work.tokens * kept if case["checkpointing"] else layer + _probabilities(case, work))
    recomputed = 2 * layer + _probabilities(case, work) if case["checkpointing"] else 0
    gradient = 4 * work.scored * shape.hidden  # of the head's input, which the forward finds out; the head has it too
    head = memory.head_bytes(shape, work, numerics, device_type="cpu")
    copies = memory.copy_bytes(shape, numerics, Mesh(), case["checkpointing"])
    return {
        "weights": held.policy,
        "reference": held.reference,
        "gradients": held.gradients,
        "optimizer": held.optimizer,
        "saved": saved - (0 if case["checkpointing"] else shape.layers * _probabilities(case, work)) + gradient,
        "peak": saved + recomputed + head + copies,
        "flops": step_flops(shape, work, state, reference_forward=True),
    }


def _probabilities(case: dict[str, Any], work: Any) -> float:
    """What a CPU's tree attention keeps of a layer: a x heads x (A + 64 L) bytes, if these are at most `KEPT_BYTES`.

    It works on blocks of 128 queries, half of whose last keys are masked.
    """
    size = (4 if case["precision"] == "32-true" else 2) * _SIZES[case["size"]][2] * (work.attended + 64 * work.tokens)
    return size if case["tree"] and size <= KEPT_BYTES else 0.0


def measure(case: dict[str, Any]) -> dict[str, float]:
    """Bytes of a training step, with what was there before left out of the peak."""
    torch.set_num_threads(1)
    from transformers import AutoConfig, AutoModelForCausalLM

    from dpo_lightning.policy.source import PolicySource
    from dpo_lightning.reference.models import Place, RunModels

    torch.manual_seed(0)
    config = AutoConfig.for_model(case["architecture"], **model_config(case))
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        models = RunModels(PolicySource(model, _options(case)), _settings(case, folder), Place(case["precision"]))
    policy, reference, score = models.policy, models.reference, models.scorer
    kept = _mover().keep(reference.followed()) if case["reference"] == "moved" else {}
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, foreach=False)
    batch = _batch(case)
    mixed = case["precision"] == "bf16-mixed"

    def forward() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            reference.token_logps(batch)
            return -score(batch).logps.mean()

    forward().backward()  # the probes of the head and the layout; and gradients, as in a later micro-batch
    with AllocatedBytes() as allocated:
        allocated.ignore([*policy.parameters(), *policy.buffers(), *_tensors(batch)])
        allocated.ignore(parameter.grad for parameter in trained)
        allocated.ignore(weight for model in reference.own_models() for weight in model.parameters())
        forward().backward()
    optimizer.step()
    with FlopCounterMode(display=False, custom_mapping=_IN_PLACE) as counted:
        forward().backward()
    half = torch.bfloat16 if case["precision"] != "32-true" else torch.float32
    return {
        "weights": _bytes(policy.parameters()),
        "reference": sum(_bytes(model.parameters()) for model in reference.own_models())
        + sum(_bytes(each.values()) for each in kept.values()),
        "gradients": _bytes([parameter.grad for parameter in trained]),
        "optimizer": _bytes([kept for state in optimizer.state.values() for kept in state.values() if kept.ndim]),
        "saved": _saved(forward, policy),
        "peak": allocated.peak,
        "flops": counted.get_total_flops(),
        "seconds": min(_seconds(lambda: forward().backward()) for _ in range(_STEPS)),
        "product_gflops": gflops(_SQUARE, half, "cpu"),
        "peak_rss_mib": peak_mib(),
    }


def _options(case: dict[str, Any]) -> Any:
    from dpo_lightning.policy.lora import LoRA
    from dpo_lightning.policy.prepare import PolicyOptions

    return PolicyOptions(lora=LoRA() if case["lora"] else None, gradient_checkpointing=case["checkpointing"])


def _settings(case: dict[str, Any], checkpoint: str) -> Any:
    """The reference of a case: the default one, or a copy, of a checkpoint where it is another model."""
    from dpo_lightning.reference import FrozenCopy

    if case["reference"] is None:
        return None
    return FrozenCopy(checkpoint) if case["reference"] == "other" else FrozenCopy()


def _mover() -> Any:
    from dpo_lightning.callbacks import EMAReference

    return EMAReference()


def _state(case: dict[str, Any]) -> Any:
    """What is kept beside the policy; an average is kept in float32."""
    from dpo_lightning.estimate import State

    copies = int(not case["lora"] or case["reference"] is not None)
    is_moved = case["reference"] == "moved"
    kept = 2.0 if is_moved and case["precision"] == "bf16-true" else 0.0
    return State(copies, 0, 2.0, case["checkpointing"], is_moved, kept)


def _seconds(step: Any) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _saved(forward: Any, policy: torch.nn.Module) -> int:
    """Bytes that the graph of a forward holds, without weights and their copies."""
    weights = {tuple(parameter.shape) for parameter in policy.parameters()}
    weights |= {tuple(reversed(shape)) for shape in weights}
    held: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tuple(tensor.shape) not in weights:
            held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forward()
    del loss
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values())


def _tensors(batch: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tuple(batch)) if isinstance(leaf, torch.Tensor)]


def _bytes(tensors: Any) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _batch(case: dict[str, Any]) -> Any:
    from dpo_lightning.batch import TokenizedExample, collate_padded, collate_tree

    draw = torch.Generator().manual_seed(0)

    def ids(count: int) -> list[int]:
        return torch.randint(3, _SIZES[case["size"]][-1], (count,), generator=draw).tolist()

    pairs = [TokenizedExample.pair(i, ids(_PROMPT), ids(_COMPLETION), ids(_COMPLETION)) for i in range(_PAIRS)]
    return (collate_tree if case["tree"] else collate_padded)(pairs)


def main() -> None:
    """Measure all cases, each in its own process, and write them beside the predictions."""
    torch.set_num_threads(1)
    cases = [
        {"case": case, "predicted": predict(copy.copy(case)), "measured": run_part("memory_check", str(case), case)}
        for case in CASES
    ]
    work = {"pairs": _PAIRS, "prompt": _PROMPT, "completion": _COMPLETION}
    RESULTS.write_text(json.dumps({**environment.describe(), "batch": work, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The estimate's formulas beside what a training step allocates.")
    parser.add_argument("--spec", type=json.loads, help=argparse.SUPPRESS)  # one of them, in a process of its own
    arguments = parser.parse_args()
    if arguments.spec is None:
        main()
    else:
        print(json.dumps(measure(arguments.spec)))
