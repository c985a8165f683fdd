"""Mixtures of experts: what the routers chose, the loss that keeps the experts in use, and their load."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from dpo_lightning.compat.transformers import recorded_modules
from dpo_lightning.errors import InputError


class Routing(NamedTuple):
    """The choices of one router among `E` experts for each token of a forward.

    Attributes:
        logits: Values that the choice was made by.
        chosen: Experts that each token was sent to.
    """

    logits: Float[Tensor, "T E"]
    chosen: Int[Tensor, "T k"]


class ExpertLoad(NamedTuple):
    """Tokens that each of `E` experts got from each of `M` routers, and how many tokens each router saw."""

    per_expert: Float[Tensor, "M E"]
    tokens: Float[Tensor, ""]


def balance_loss(routings: list[Routing], counted: Bool[Tensor, " T"] | None = None) -> Float[Tensor, ""]:
    """Return the load-balancing loss of Switch Transformers (arXiv:2101.03961, equations 4 to 6), over all routers.

    That is `E * sum_e f_e * p_e`, with `f_e` the number of times that a token was sent to expert `e`, and `p_e` the
    softmax of the router's logits, each a mean over tokens and routers. Even routing to `k` experts gives `k`. It is in
    the logits' dtype, float32 or wider.

    Args:
        routings: The choices of each router in one forward.
        counted: Which tokens count; None counts all.
    """
    load = expert_load(routings, counted)
    probabilities = torch.zeros_like(load.per_expert[0])
    for routing in routings:
        each = routing.logits.to(probabilities).softmax(-1)
        probabilities = probabilities + (each.sum(0) if counted is None else counted.to(each) @ each)
    seen = load.tokens * len(routings)
    return len(probabilities) * (load.per_expert.sum(0) / seen * probabilities / seen).sum()


def expert_load(routings: list[Routing], counted: Bool[Tensor, " T"] | None = None) -> ExpertLoad:
    """Count what the experts got in one forward, without a wait for the device."""
    logits = routings[0].logits.detach()
    weights = logits.new_ones(len(logits)) if counted is None else counted.to(logits)
    weights = weights.to(torch.promote_types(logits.dtype, torch.float32))
    rows = []
    for routing in routings:
        chosen = routing.chosen.to(weights.device)
        each = weights.repeat_interleave(chosen.shape[-1])
        rows.append(weights.new_zeros(routing.logits.shape[-1]).index_add(0, chosen.flatten(), each))
    return ExpertLoad(torch.stack(rows), weights.sum())


def load_metrics(load: ExpertLoad) -> dict[str, Float[Tensor, ""]]:
    """Return what is watched of a load, on the device.

    `experts/max_share` is the largest share of a router's choices that one expert got, `1 / E` where all are even;
    `experts/entropy` is the entropy of these shares over its largest value, `ln E`, as a mean over routers.
    """
    shares = load.per_expert / load.per_expert.sum(-1, keepdim=True)
    entropy = -torch.special.xlogy(shares, shares).sum(-1) / math.log(shares.shape[-1])
    return {"experts/max_share": shares.max(), "experts/entropy": entropy.mean()}


class Experts:
    """The routers of a policy; of a policy without any, everything here does nothing.

    Args:
        policy: The model that is trained.
        coefficient: Factor of the auxiliary loss; None takes that of the model's config, as TRL does.

    Raises:
        InputError: for a coefficient that was given for a model whose routers are not known, or that is negative.
    """

    def __init__(self, policy: nn.Module, coefficient: float | None = None) -> None:
        self._routers = recorded_modules(policy, "router_logits")
        self._per_token = _experts_per_token(policy)
        self._coefficient = _checked(coefficient, policy, bool(self._routers))
        self._loss: Float[Tensor, ""] | None = None
        self._load: ExpertLoad | None = None
        self._last_loss: Float[Tensor, ""] | None = None

    @contextmanager
    def watched(self, counted_tokens: Callable[[], Bool[Tensor, " T"] | None]) -> Iterator[None]:
        """Note what the routers choose in the last forward inside the block.

        The hooks are gone after the block: a recomputation in the backward notes nothing.

        Args:
            counted_tokens: Says which of the forward's `T` tokens count; asked where there are routers.
        """
        if not self._routers:
            yield
            return
        last: dict[nn.Module, Routing] = {}
        handles = [router.register_forward_hook(self._note(last, index)) for router, index in self._routers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        if not (found := list(last.values())):
            return
        counted = counted_tokens()
        self._load = expert_load(found, counted)
        self._loss = balance_loss(found, counted) if self._coefficient else None

    def balanced(self, losses: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
        """Return the losses of a batch with the auxiliary loss of its forward, which has the weight of its examples."""
        if self._loss is None:
            return losses
        loss, self._loss = self._loss, None
        self._last_loss = loss.detach()
        return losses + (self._coefficient * loss).to(losses)

    def metrics(self) -> dict[str, Float[Tensor, ""]]:
        """Return the load of the experts in the last forward, and its auxiliary loss without the factor."""
        if self._load is None:
            return {}
        auxiliary = {} if self._last_loss is None else {"router_aux_loss": self._last_loss}
        return {**load_metrics(self._load), **auxiliary}

    def _note(self, last: dict[nn.Module, Routing], index: int | None) -> Callable[[nn.Module, Any, Any], None]:
        def note(router: nn.Module, _: Any, output: Any) -> None:
            values = output if isinstance(output, tuple) else (output,)
            logits = values[index or 0].flatten(0, -2)
            chosen = _chosen(values, logits, getattr(router, "top_k", None) or self._per_token)
            if chosen is not None:
                last[router] = Routing(logits, chosen)

        return note


def _chosen(values: tuple[Any, ...], logits: Float[Tensor, "T E"], per_token: int | None) -> Int[Tensor, "T k"] | None:
    """Return the experts that a router itself says it chose, else those of the largest logits."""
    own = [each for each in values if isinstance(each, Tensor) and each.ndim == 2 and not each.is_floating_point()]
    if own and len(own[0]) == len(logits):
        return own[0]
    return None if per_token is None else logits.detach().topk(per_token, dim=-1).indices


def _experts_per_token(policy: nn.Module) -> int | None:
    """Return the number of experts that a token goes to, from the configs; models name it differently."""
    configs = [getattr(module, "config", None) for module in policy.modules()]
    nested = [getattr(config, "ffn_config", None) for config in configs]
    names = ("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "moe_topk", "moe_k", "top_k_experts")
    found = [getattr(config, name, None) for config in [*configs, *nested] for name in names]
    return next((number for number in found if isinstance(number, int)), None)


def _checked(given: float | None, policy: nn.Module, has_routers: bool) -> float:
    """Return the factor of the auxiliary loss: the one that was given, or the config's own."""
    config: Any = getattr(policy, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    own = getattr(text, "router_aux_loss_coef", None) if hasattr(text, "output_router_logits") else None
    if given is not None and not (math.isfinite(given) and given >= 0):
        raise InputError(f"model.router_aux_loss_coef: a number of 0 or more is needed, got {given}")
    if given and not has_routers:
        raise InputError(
            f"model.router_aux_loss_coef: {given} was given, and {type(policy).__name__} has no router whose logits "
            "transformers records: leave it out"
        )
    if given is None and own and not has_routers:
        rank_zero_warn(
            f"the config of {type(policy).__name__} has router_aux_loss_coef={own}, and transformers records no router "
            "logits of it: it is trained without the auxiliary loss"
        )
        return 0.0
    return (own or 0.0) if given is None else given
