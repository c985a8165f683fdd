"""Fake tensors in the place of a model's weights, and the choices that the code makes on CUDA, forced on them.

The fake tensors are of the device `cpu`: a torch that was built without CUDA has no backward on fake tensors of `cuda`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.optim import adam
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map_only

from dpo_lightning.logprobs import scorer, tiling
from dpo_lightning.logprobs.transform import HeadProbe, LogitTransform
from dpo_lightning.policy import lora, prepare
from dpo_lightning.policy.beside_text import OtherParts
from dpo_lightning.reference import adapter, identity, models
from dpo_lightning.utils import narrow_linear


@contextmanager
def fake_tensors() -> Iterator[FakeTensorMode]:
    """Make every tensor inside the block a fake one, also those that modules copy and convert."""
    with (
        patch.object(FakeTensor, "__deepcopy__", _copied, create=True),
        patch.object(nn.Module, "_apply", _converted),
        FakeTensorMode() as mode,
    ):
        yield mode


def _copied(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """Return a copy of a fake tensor, in the mode that it has: torch would copy the mode too, and mixes none."""
    if id(tensor) not in memo:
        copy = tensor.detach().clone()
        memo[id(tensor)] = nn.Parameter(copy, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy
    return memo[id(tensor)]


def _converted(model: nn.Module, convert: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Convert parameters and buffers, in place of `nn.Module._apply`, which does not stand fake tensors."""
    for each in model.modules() if recurse else [model]:
        for name, weight in each._parameters.items():
            if weight is not None and (made := convert(weight.detach())).dtype != weight.dtype:
                each._parameters[name] = nn.Parameter(made, weight.requires_grad)
        for name, buffer in each._buffers.items():
            each._buffers[name] = buffer if buffer is None else convert(buffer)
    return model


@contextmanager
def without_values() -> Iterator[None]:
    """Leave out, inside the block, what reads the values of weights, or tries the model, before a run."""
    left_out: list[tuple[Any, str, Any]] = [
        (models, "policy_start", {}),
        (models, "check_plain", None),
        (identity, "sampled", {}),
        (prepare, "other_parts", OtherParts({}, {})),
        (prepare, "check_causal", None),
        (lora, "_check_initialisation", None),
        (adapter, "moves_base", False),
        (narrow_linear, "_fits", True),  # as of a checkpoint in half precision
    ]
    with ExitStack() as stack:
        for where, name, result in left_out:
            stack.enter_context(patch.object(where, name, lambda *_, _result=result, **__: _result))
        yield


MEMORY, CACHE = 141 * 10**9, 60 * 2**20

# What is asked of a device and not of a tensor, with the answers of one H200; for the parts that a commit has.
ASKED_OF_A_DEVICE: list[tuple[str, str, Any]] = [
    ("dpo_lightning.logprobs.kernels.choice", "_triton_runs", lambda *_: True),
    ("dpo_lightning.logprobs.tiling", "Tiling.kept_on", lambda *_: MEMORY // 20),
    ("dpo_lightning.logprobs.tiling", "_cache_of", lambda _: CACHE),
    ("dpo_lightning.compat.torch_products", "multiplies_into_float32", lambda *_: True),
    ("dpo_lightning.callbacks.update_guard", "is_read_late", lambda _: True),
    ("dpo_lightning.utils.late", "LateNumbers.__init__", lambda late, values: vars(late).update(_values=values)),
    ("dpo_lightning.utils.late", "LateNumbers.read", lambda late: [0.0] * len(late._values)),
]


@contextmanager
def cuda_choices(vocabulary: int) -> Iterator[None]:
    """Let the code choose inside the block what it chooses on CUDA: kernels, sizes of tiles, lists of tensors.

    Args:
        vocabulary: Width of the head's output, which a probe would find.
    """
    types = [*_foreach_utils._foreach_supported_types, FakeTensor]
    with (
        ExitStack() as stack,
        patch.object(FakeTensor, "is_cuda", True),
        patch.object(tiling.Tiling, "tile_logits", lambda self, _: self.logits),
        patch.object(scorer, "_probe", lambda *_: HeadProbe(LogitTransform(), vocabulary)),
        patch.object(adam, "_default_to_fused_or_foreach", lambda *_, **__: (False, True)),
        patch.object(_foreach_utils, "_foreach_supported_types", types),
    ):
        for module, name, answer in ASKED_OF_A_DEVICE:
            if find_spec(module) is not None:
                stack.enter_context(patch(f"{module}.{name}", answer, create=True))
        yield


class Copies(TorchDispatchMode):
    """Counts the copies to the device `meta`, which stands for a GPU where tensors of the host have values."""

    def __init__(self) -> None:
        super().__init__()
        self.count = self.bytes = self.blocking = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count it where it copies from the host."""
        kwargs = kwargs or {}
        source = args[1] if func is torch.ops.aten.copy_.default else args[0] if args else None
        out = func(*args, **kwargs)
        if isinstance(source, Tensor) and isinstance(out, Tensor) and (source.is_cpu, out.is_meta) == (True, True):
            waits_for_it = args[2:3] != (True,) if func is torch.ops.aten.copy_.default else True
            self.count += 1
            self.bytes += source.numel() * source.element_size()
            self.blocking += waits_for_it and not kwargs.get("non_blocking", False)
        return out


def moved(batch: Any, move: Callable[[Any, torch.device], Any], mode: FakeTensorMode) -> tuple[Any, Copies]:
    """Move a batch of the host to the device by `move`; return it as fake tensors, and the copies that it took."""
    with _disable_current_modes():
        with Copies() as copies:
            there = move(batch, torch.device("meta"))
        assert not [each for each in torch.utils._pytree.tree_leaves(there) if isinstance(each, Tensor) and each.is_cpu]
        on_host = tree_map_only(Tensor, lambda each: torch.empty(each.shape, dtype=each.dtype), there)
    return tree_map_only(Tensor, mode.from_tensor, on_host), copies
