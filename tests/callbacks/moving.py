"""Runs whose reference moves: the rules by hand, and the weights of every step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from dpo_lightning import FrozenAdapter, FrozenCopy, LoRA, PreferenceModule
from dpo_lightning.callbacks import BEMAReference, EMAReference, TrustRegionReference
from tests.helpers.runs import Losses, data, module, trainer
from tests.helpers.tiny import tiny_llama

Weights = dict[str, Tensor]
Rule = Callable[[Weights, list[Weights]], Weights]
STEPS = 7


def mixed(alpha: float, every: int) -> Rule:
    """TR-DPO's equation, on plain tensors: from the reference and the policy after each step."""

    def last(reference: Weights, trail: list[Weights]) -> Weights:
        for policy in trail[every::every]:
            reference = {name: alpha * policy[name] + (1 - alpha) * value for name, value in reference.items()}
        return reference

    return last


def bias_corrected(every: int, kappa: float, eta: float, gamma: float, rho: float) -> Rule:
    """Algorithm 1 of arXiv:2508.00180."""

    def last(reference: Weights, trail: list[Weights]) -> Weights:
        start = average = trail[0]
        for t in range(every, len(trail), every):
            alpha, beta = (rho + gamma * t) ** -eta, (rho + gamma * t) ** -kappa
            average = {name: (1 - beta) * value + beta * trail[t][name] for name, value in average.items()}
            reference = {name: average[name] + alpha * (trail[t][name] - start[name]) for name in average}
        return reference

    return last


RULES: dict[str, tuple[Callable[[], pl.Callback], Rule]] = {
    "soft": (lambda: TrustRegionReference(alpha=0.3, every=2), mixed(0.3, 2)),
    "hard": (lambda: TrustRegionReference(alpha=1.0, every=3), mixed(1.0, 3)),
    "ema": (lambda: EMAReference(decay=0.9), mixed(1 - 0.9, 1)),
    "bema": (
        lambda: BEMAReference(every=2, ema_power=0.5, bias_power=0.2, multiplier=0.5, lag=3.0),
        bias_corrected(2, kappa=0.5, eta=0.2, gamma=0.5, rho=3.0),
    ),
}


MODELS: dict[str, dict[str, Any]] = {
    "full": {},
    "partly frozen": {},
    "lora": {"lora": LoRA(r=2), "reference": FrozenAdapter},
    "dora": {"lora": LoRA(r=2, use_dora=True), "reference": FrozenAdapter},
    "embeddings": {
        "lora": LoRA(r=2, target_modules=["q_proj", "embed_tokens"], modules_to_save=["lm_head"]),
        "reference": FrozenAdapter,
    },
    "copied adapter": {"lora": LoRA(r=2, init_lora_weights=False), "reference": FrozenCopy},
}


def model(kind: str = "full", lr: float = 1e-2, **settings: Any) -> PreferenceModule:
    torch.manual_seed(2)
    policy = settings.pop("policy", None) or tiny_llama()
    if kind == "partly frozen":
        policy.model.embed_tokens.requires_grad_(False)
    chosen = dict(MODELS[kind])
    if "reference" in chosen:
        chosen["reference"] = chosen["reference"]()
    return module(policy, lr, **{**chosen, **settings})


def policy_of(run: PreferenceModule) -> Weights:
    """Of the trained weights, in float64."""
    named = run.policy.named_parameters()
    return {name: value.detach().double() for name, value in named if value.requires_grad}


def reference_of(run: PreferenceModule) -> Weights:
    """The weights that the reference scores with, by the policy's names."""
    if own := run.reference.own_models():
        weights = dict(own[0].named_parameters())
        return {name: weights[name].detach().double() for name in policy_of(run)}
    weights = dict(run.policy.named_parameters())
    return {name: weights[name.replace(".default", ".reference")].detach().double() for name in policy_of(run)}


class Trail(Losses):
    """Also keeps the weights before training and after every optimizer step."""

    def __init__(self) -> None:
        super().__init__()
        self.policy: list[Weights] = []
        self.reference: list[Weights] = []

    def _take(self, pl_module: Any) -> None:
        for trail, weights in ((self.policy, policy_of(pl_module)), (self.reference, reference_of(pl_module))):
            trail.append({name: value.clone() for name, value in weights.items()})

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._take(pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._take(pl_module)


def fit(path: Path, run: PreferenceModule, *callbacks: pl.Callback, ckpt_path: Any = None, **settings: Any) -> Trail:
    trail = Trail()
    quiet = {"max_steps": STEPS, "max_epochs": -1, "limit_val_batches": 0, **settings}
    trainer(callbacks=[*callbacks, trail], **quiet).fit(run, data(path), ckpt_path=ckpt_path)
    return trail


def distance(one: Weights, other: Weights) -> float:
    assert one.keys() == other.keys() != set()
    return max((value - other[name]).abs().max().item() for name, value in one.items())
