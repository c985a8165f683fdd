"""Effects of an adapter's initialisation, found out on a small layer and not from its name."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from dpo_lightning.errors import InputError

_INPUTS, _OUTPUTS, _RANK = 256, 128, 16
# The residual that is left of a weight of size 1 / sqrt(256): rounding of its decomposition stays far below.
_ROUNDING = 1e-5

_OTHER_EACH_TIME = (
    "leaves other frozen weights each time, which no checkpoint and no adapter holds, so that neither could be loaded"
)


@dataclass(frozen=True)
class Initialisation:
    """The effects of one of PEFT's initialisations.

    Attributes:
        moves_base: It changes the base weights, so that the model with its adapter off is not the original one.
        repeats: It leaves the same frozen weights each time, which no checkpoint holds.
        is_plain: Its adapter is that of `init_lora_weights=True`: small uniform numbers and zeros.
    """

    moves_base: bool
    repeats: bool
    is_plain: bool

    @property
    def problem(self) -> str | None:
        """The reason, in one line, why it cannot be used under another name than true; None where it can."""
        if not self.repeats:
            return f"{_OTHER_EACH_TIME}: take one that gives the same twice, such as pissa, or true"
        if self.is_plain:
            return "needs a step over the data that is not made here, and without it does what true does: write true"
        return None


@lru_cache
def initialisation(name: bool | str) -> Initialisation:
    """Try an initialisation twice on a small linear layer, with other random numbers.

    Args:
        name: PEFT's `init_lora_weights`.

    Raises:
        Exception: what PEFT raises for a name that it does not know, or whose settings or packages are missing.
    """
    before, first = _initialised(name, 1)
    _, second = _initialised(name, 2)
    trained = {key for key, parameter in first.named_parameters() if parameter.requires_grad}
    states = [dict(layer.state_dict()) for layer in (first, second)]
    frozen = [{key: value for key, value in state.items() if key not in trained} for state in states]
    return Initialisation(
        moves_base=not _equal(_weight(first), before),
        repeats=all(_equal(value, frozen[1][key]) for key, value in frozen[0].items()),
        is_plain=isinstance(name, str) and _is_plain(states[0]),
    )


def check_repeats(config: Any) -> None:
    """Refuse an adapter whose base weights nobody has: to load it moves them once more, and elsewhere.

    Args:
        config: The config of a PEFT adapter, of any kind.

    Raises:
        InputError: for such an adapter.
    """
    name = getattr(config, "init_lora_weights", True)
    try:
        repeats = initialisation(name).repeats
    except Exception:  # PEFT says what it lacks when it is used
        return
    if not repeats:
        raise InputError(f"init_lora_weights={name!r} of the adapter {_OTHER_EACH_TIME}")


def moves_base(name: bool | str) -> bool:
    """Return whether an initialisation changes the base weights; true of one that cannot be tried."""
    try:
        return initialisation(name).moves_base
    except Exception:  # PEFT raises several kinds, without a base class
        return True


def _initialised(name: bool | str, seed: int) -> tuple[Tensor, nn.Module]:
    """Return the weight of a linear layer, and the layer with an adapter."""
    from peft import LoraConfig, inject_adapter_in_model

    with _on_cpu_in_float32(), torch.random.fork_rng([]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the name lacks, which is what is tried here
        torch.manual_seed(0)
        layer = nn.Linear(_INPUTS, _OUTPUTS, bias=False)
        before, model = layer.weight.detach().clone(), nn.Sequential(layer)
        torch.manual_seed(seed)
        config = LoraConfig(r=_RANK, lora_alpha=_RANK, target_modules=["0"], init_lora_weights=name)
        inject_adapter_in_model(config, model)
    return before, model


def _weight(model: nn.Module) -> Tensor:
    return next(value for key, value in model.state_dict().items() if key.endswith("base_layer.weight"))


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=0.0, atol=_ROUNDING)


def _is_plain(state: dict[str, Tensor]) -> bool:
    """Tell uniform numbers within 1 / sqrt(inputs), over zeros, by their bound and their spread."""
    matrices = {part: value for key, value in state.items() for part in ("lora_A", "lora_B") if part in key}
    if len(matrices) < 2 or matrices["lora_B"].any():
        return False
    bound = 1 / math.sqrt(_INPUTS)
    spread = matrices["lora_A"].std().item() * math.sqrt(3) / bound
    return matrices["lora_A"].abs().max().item() <= bound and abs(spread - 1) < 0.05


@contextmanager
def _on_cpu_in_float32() -> Iterator[None]:
    """Make new modules as without a Trainer, whose strategy may build models without weights or in half precision."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)
