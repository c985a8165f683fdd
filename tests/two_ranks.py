"""Runs of two processes that share a model, for the tests to compare with runs of one process."""

from __future__ import annotations

import os
import warnings
from functools import partial
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, ParallelStrategy
from torch.distributed.tensor import DTensor
from torch.optim import SGD, AdamW
from transformers import AutoModelForCausalLM

from dpo_lightning import FrozenAdapter, FrozenCopy, LoRA, Precomputed, PreferenceModule
from dpo_lightning.callbacks import BEMAReference, Export, ResumableCheckpoint, SampleTable
from dpo_lightning.errors import DPOLightningError
from dpo_lightning.losses import DPO, LDDPO, WPO
from dpo_lightning.policy import sharding
from tests.helpers.runs import computed, data, trainer

Case = dict[str, Any]

# Gradients differ by rounding, which the usual epsilon of 1e-8 turns into a step of full size where they are near 0.
OPTIMIZER = {"lr": 1e-2, "weight_decay": 0.1, "eps": 1e-2}
SAMPLES = {"prompts": 4, "samples_per_prompt": 2, "max_new_tokens": 6, "samples_at_once": 2, "every_n_steps": 2}
TP: Case = {"data_ranks": 1}
DDP: Case = {"ddp": True}
WHOLE: Case = {"samples": "full", "checkpoints": "whole"}
MOVING: Case = {"moving": True}
FOLLOWING: Case = {"model": {"lora": LoRA(r=4), "reference": FrozenAdapter()}}

CASES: dict[str, Case] = {
    "full": WHOLE,
    "full, resumed": {"checkpoints": "resumed", "resume": "whole/step=2.ckpt"},
    "full, tied": {"policy": "tied"},
    "full, clipped": {"trainer": {"gradient_clip_val": 0.1}},
    "full, clipped by value": {"trainer": {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": "value"}},
    "full, accumulated": {"trainer": {"accumulate_grad_batches": 2}},
    "full, checkpointed": {"model": {"gradient_checkpointing": True}},
    "full, cached reference": {"cached": True},
    "full, another reference": {"reference": "other", "model": {"step_zero_check": False}},
    "full, a reference in memory": {"given": "other", "model": {"step_zero_check": False}},
    "full, by single tokens": {"model": {"objective": WPO(LDDPO(DPO()))}},
    "LoRA, adapter off": {"model": {"lora": LoRA(r=4)}, "export": True},
    "LoRA, trained before": {"policy": "adapter"},
    "LoRA, cached reference": {"cached": True, "model": {"lora": LoRA(r=4)}},
    "full, moving reference": {**MOVING, "checkpoints": "moved"},
    "full, moving reference, resumed": {**MOVING, "checkpoints": "moved, resumed", "resume": "moved/step=2.ckpt"},
    "LoRA, moving reference": {**MOVING, **FOLLOWING, "checkpoints": "moved adapter"},
    "LoRA, moving reference, resumed": {
        **MOVING,
        **FOLLOWING,
        "checkpoints": "moved adapter, resumed",
        "resume": "moved adapter/step=2.ckpt",
    },
    "DDP, full": DDP,
    "DDP, LoRA": {**DDP, "model": {"lora": LoRA(r=4)}, "samples": "ddp"},
    "DDP, LoRA trained before": {**DDP, "policy": "adapter"},
    "DDP, cached reference": {**DDP, "cached": True},
    "DDP, LoRA, cached reference": {**DDP, "cached": True, "model": {"lora": LoRA(r=4)}},
    "DDP, another reference": {**DDP, "reference": "other", "model": {"step_zero_check": False}},
    "bf16-true": {"trainer": {"precision": "bf16-true"}},
    "bf16-mixed": {"trainer": {"precision": "bf16-mixed"}},
    "tensor parallel": {**TP, "samples": "tensor"},
    "tensor parallel, clipped": {**TP, "trainer": {"gradient_clip_val": 0.1}},
    "tensor parallel, tied, checkpointed": {**TP, "policy": "tied", "model": {"gradient_checkpointing": True}},
    "tensor parallel, moving reference": {**TP, **MOVING, "checkpoints": "moved, split"},
    "tensor parallel, moving reference, resumed": {
        **TP,
        **MOVING,
        "checkpoints": "moved, split, resumed",
        "resume": "moved, split/step=2.ckpt",
    },
    "tensor parallel, norms of heads": {**TP, "policy": "qwen3"},
    "tensor parallel, by single tokens": {**TP, "model": {"objective": WPO(LDDPO(DPO()))}},
}
# Each kind of strategy validates before its first step once; the others need not do it again.
SANITY_CHECKED = [CASES[name] for name in ("full", "LoRA, adapter off", "DDP, full", "tensor parallel")]
FASTER = partial(AdamW, **{**OPTIMIZER, "lr": 0.5})
# No run of one process is to end like this one.
CHANGED: dict[str, Case] = {
    "another rate, resumed": {
        "model": {"optimizer": FASTER, "resume": "changed"},
        "resume": "whole/step=2.ckpt",
    },
}
REFUSED: dict[str, Case] = {
    "no plan": {**TP, "policy": "gpt2"},
    "LoRA": {**TP, "model": {"lora": LoRA(r=4)}},
    "heads": {**TP, "policy": "three_heads"},
    "step zero": {"reference": "other"},
    "code": {"resume": "malicious.ckpt"},
    "another base": {"policy": "other", "resume": "whole/step=2.ckpt"},
    "another rate": {"model": {"optimizer": FASTER}, "resume": "whole/step=2.ckpt"},
    "another optimizer": {"model": {"optimizer": partial(SGD, lr=0.5)}, "resume": "whole/step=2.ckpt"},
    "another adapter": {
        "model": {"lora": LoRA(r=2), "reference": FrozenAdapter()},
        "resume": "moved adapter/step=2.ckpt",
    },
}


def alone_as(case: Case) -> Case:
    """Leave out what makes no difference to the run of one process: many cases are then the same run."""
    only_of_two = {"resume", "checkpoints", "ddp"} | (set() if "samples" in case else {"data_ranks"})
    return {key: value for key, value in case.items() if key not in only_of_two}


class Watch(pl.Callback):
    """What a run logged, step by step."""

    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        values = computed(trainer.callback_metrics)
        self.logged.append({name: value for name, value in values.items() if name.startswith("train/")})


def fit(path: Path, case: Case, processes: int) -> dict[str, Any]:
    """One run; its logs, and on rank 0 the trained weights, whole."""
    here = path / f"{processes}-{os.environ.get('RANK', '0')}"
    here.mkdir(exist_ok=True)
    torch.manual_seed(0)
    module = _module(path, case)
    watch = Watch()
    run = trainer(
        strategy=_strategy(case) if processes > 1 else "auto",
        devices=processes,
        callbacks=[watch, *_callbacks(path / str(processes), case)],
        **{
            "max_steps": 4,
            "val_check_interval": 2,
            "enable_checkpointing": "checkpoints" in case,
            "num_sanity_val_steps": 2 if case in SANITY_CHECKED else 0,
            **case.get("trainer", {}),
        },
    )
    pairs = data(here, batch_pairs=4 // (case.get("data_ranks", processes) if processes > 1 else 1))
    run.fit(module, pairs, ckpt_path=str(path / case["resume"]) if "resume" in case else None)
    policy = module.whole_policy()
    if policy is None:
        return {}
    trained = {name: value.detach() for name, value in policy.named_parameters() if value.requires_grad}
    buffers = {name: value.clone() for name, value in module.policy.named_buffers()}
    validated = {name: float(value) for name, value in run.callback_metrics.items() if name.startswith("val/")}
    return {"logged": watch.logged, "validated": validated, "weights": trained, "buffers": buffers}


def _module(path: Path, case: Case) -> PreferenceModule:
    settings = dict(case.get("model", {}))
    if "reference" in case:
        settings["reference"] = FrozenCopy(str(path / case["reference"]))
    if "given" in case:
        settings["reference"] = AutoModelForCausalLM.from_pretrained(path / case["given"])
    if "cached" in case:
        settings["reference"] = Precomputed(cache_dir=str(path / "cache"))
    policy = str(path / case.get("policy", "model"))
    return PreferenceModule(policy, **{"optimizer": lambda params: AdamW(params, **OPTIMIZER), **settings})


def _strategy(case: Case) -> ParallelStrategy:
    if "ddp" in case:
        return DDPStrategy()
    ranks = case.get("data_ranks", 2)
    return ModelParallelStrategy(data_parallel_size=ranks, tensor_parallel_size=2 // ranks)


def _callbacks(path: Path, case: Case) -> list[pl.Callback]:
    callbacks: list[pl.Callback] = []
    if "samples" in case:
        callbacks.append(SampleTable(str(path / f"{case['samples']}.md"), **SAMPLES))
    if "export" in case:
        callbacks.append(Export(str(path / "adapter"), merged_path=str(path / "merged")))
    if "moving" in case:
        callbacks.append(BEMAReference(every=1, lag=1.0))
    if "checkpoints" in case:
        callbacks.append(ResumableCheckpoint(str(path.parent / case["checkpoints"]), every_n_train_steps=2))
    return callbacks


def refusal(path: Path, case: Case) -> str:
    """What the run is stopped with."""
    try:
        fit(path, case, processes=2)
    except DPOLightningError as error:
        return str(error)
    return "nothing"


def largest_share(path: Path) -> float:
    """The most bytes of weights that a model has on this rank while it is sharded, of all its bytes."""
    seen, shard_one = [0.0], sharding.fully_shard

    def counted(unit: torch.nn.Module, **settings: Any) -> None:
        seen.append(_bytes(model[0]))
        shard_one(unit, **settings)
        seen.append(_bytes(model[0]))

    model = [torch.nn.Module()]
    shard = sharding.shard

    def watched(whole: torch.nn.Module, *arguments: Any, **settings: Any) -> None:
        model[0] = whole
        seen.append(_bytes(whole))
        shard(whole, *arguments, **settings)

    import dpo_lightning.reference.models

    sharding.fully_shard, dpo_lightning.reference.models.shard = counted, watched
    try:
        module = fit(path, {"policy": "deep"}, processes=2)
    finally:
        sharding.fully_shard, dpo_lightning.reference.models.shard = shard_one, shard
    del module
    return max(seen) / sum(parameter.numel() * parameter.element_size() for parameter in model[0].parameters())


def _bytes(model: torch.nn.Module) -> float:
    local = (value.to_local() if isinstance(value, DTensor) else value for value in model.parameters())
    return sum(value.numel() * value.element_size() for value in local if not value.is_meta)


def main(path: Path) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    results: dict[str, Any] = {name: fit(path, case, processes=2) for name, case in {**CASES, **CHANGED}.items()}
    results["refused"] = {name: refusal(path, case) for name, case in REFUSED.items()}
    results["largest share"] = largest_share(path)
    torch.save(results, path / f"results-{os.environ['RANK']}.pt")
