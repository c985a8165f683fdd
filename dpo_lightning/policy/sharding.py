"""Sharding of one model over many processes: FSDP2 and tensor parallelism, under Lightning's ModelParallelStrategy.

A device mesh has the dimensions `data_parallel`, over which parameters are sharded and batches differ, and
`tensor_parallel`, over which matrices are split and batches are the same.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from dpo_lightning.compat.lightning import profiler_kept
from dpo_lightning.compat.peft import call_with_hooks
from dpo_lightning.compat.transformers import apply_tensor_plan, tensor_plan, unsplit_classes
from dpo_lightning.errors import InputError
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.utils.ranks import from_rank_zero, this_rank
from dpo_lightning.utils.tensors import whole


def check_strategy(strategy: Any) -> None:
    """Refuse FSDP1 and DeepSpeed: they shard registered submodules only, so the reference would be whole on each GPU.

    Raises:
        InputError: for one of them, with the strategy to use.
    """
    if isinstance(strategy, FSDPStrategy | DeepSpeedStrategy):
        raise InputError(
            f"trainer.strategy {type(strategy).__name__} would leave the reference unsharded: use "
            "ModelParallelStrategy with data_parallel_size set to the number of processes (FSDP2)"
        )


@contextmanager
def weights_on_rank_zero(mesh: DeviceMesh | None) -> Iterator[None]:
    """Let rank 0 build models as ever inside the block, and the others on the meta device, without weights.

    All ranks go on with rank 0's random state. Without a mesh, models are built as ever.
    """
    if mesh is None:
        yield
        return
    with torch.device("cpu" if dist.get_rank() == 0 else "meta"), warnings.catch_warnings():
        # What PEFT reads of an adapter has no place to go there.
        warnings.filterwarnings("ignore", "for .*: copying from a non-meta parameter")
        yield
    torch.set_rng_state(from_rank_zero(torch.get_rng_state()))


def shard(model: nn.Module, mesh: DeviceMesh, device: torch.device, *, trained: bool) -> None:
    """Spread a model over the mesh, in place: rank 0's weights go to all, one layer at a time.

    No rank but 0 ever holds more than its share and one layer. The units that are gathered are the decoder layers, the
    embedding unless it is tied to the head, and what is left. Parameters are gathered in their own dtype, so that a
    run computes what it computes on one device; gradients are reduced in float32.

    Args:
        model: With weights on rank 0; what the other ranks have is not read.
        mesh: With the dimensions `data_parallel` and `tensor_parallel`.
        device: Device of the shards.
        trained: Whether a backward follows the forward; what it needs first then stays gathered.

    Raises:
        InputError: for a quantized model, or one that tensor parallelism does not fit.
    """
    root = _language_model(model)
    if is_adapted(model):
        call_with_hooks(model.base_model)
    if getattr(root, "is_quantized", False):
        raise InputError("a quantized model cannot be sharded: use the strategy ddp, or leave quantization_config out")
    plan = _tensor_plan(model, root, mesh["tensor_parallel"])
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for unit in [*_units(root), root]:
        _take_from_rank_zero(unit, device)
        _split(root, unit, mesh["tensor_parallel"], plan)
        keep = trained and unit is root
        fully_shard(unit, mesh=mesh["data_parallel"], mp_policy=policy, reshard_after_forward=not keep)


def meta_copy(model: nn.Module) -> nn.Module:
    """Return a copy of the model on the meta device: everything but the parameters' values."""
    memo = {id(parameter): _like(parameter, parameter.to("meta")) for parameter in model.parameters()}
    return copy.deepcopy(model, cast(Any, memo | profiler_kept(model)))


def gather_model(model: nn.Module, into: nn.Module) -> nn.Module | None:
    """Collect a sharded model in the CPU memory of rank 0; every rank must call it.

    Args:
        model: The sharded model.
        into: Its `meta_copy`, from before it was sharded; a copy of it is filled.

    Returns:
        The filled copy on rank 0, None elsewhere.
    """
    whole = on_rank_zero(sharded_parameters(model))
    if this_rank() != 0:
        return None
    filled, values = meta_copy(into), iter(whole.values())
    _convert(filled, lambda _: next(values))
    return filled


def sharded_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return a model's parameters by name, as they rest between steps: those of a sharded one as DTensors."""
    for unit in model.modules():
        if isinstance(unit, FSDPModule):
            unit.reshard()
    return dict(model.named_parameters())


def on_rank_zero(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gather tensors one after the other, whole, in rank 0's CPU memory, and none elsewhere; every rank must call."""
    keep = this_rank() == 0
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        gathered_here = whole(tensor)
        if keep:
            found[name] = gathered_here.detach().cpu()
    return found


def placed_like(entire: Tensor, other: Tensor) -> Tensor:
    """Put a whole tensor, which every rank has, on the device of another one, sharded as that one is."""
    here = entire.to(other.device)
    if not isinstance(other, DTensor):
        return here
    return distribute_tensor(here, other.device_mesh, other.placements, src_data_rank=None)


def is_sharded(model: nn.Module) -> bool:
    """Return whether the model is sharded with FSDP2, so that every rank must take part in each forward."""
    return any(isinstance(module, FSDPModule) for module in model.modules())


def is_split(model: nn.Module) -> bool:
    """Return whether each process holds a part of the weights, with FSDP2 or tensor parallelism."""
    return is_sharded(model) or any(isinstance(parameter, DTensor) for parameter in model.parameters())


def _language_model(model: nn.Module) -> nn.Module:
    """Return the model inside PEFT's wrapper, which generation goes past."""
    return cast(Any, model).get_base_model() if is_adapted(model) and hasattr(model, "get_base_model") else model


def _units(root: nn.Module) -> list[nn.Module]:
    """Modules that are gathered and freed one after the other; the rest belongs to the root."""
    names = unsplit_classes(root)
    units = [module for module in root.modules() if type(module).__name__ in names and module is not root]
    embedding, head = _embeddings(root)
    tied = {id(parameter) for parameter in head.parameters()} if head is not None else set()
    if embedding is not None and not any(id(parameter) in tied for parameter in embedding.parameters()):
        units.append(embedding)
    return units


def _embeddings(root: nn.Module) -> tuple[nn.Module | None, nn.Module | None]:
    getters = (getattr(root, name, None) for name in ("get_input_embeddings", "get_output_embeddings"))
    embedding, head = (getter() if getter is not None else None for getter in getters)
    return embedding, head


def _take_from_rank_zero(unit: nn.Module, device: torch.device) -> None:
    """Put parameters and buffers on the device, with rank 0's values; those that are sharded already stay."""

    def take(tensor: Tensor) -> Tensor:
        if isinstance(tensor, DTensor):
            return tensor
        own = dist.get_rank() == 0
        here = tensor.detach().to(device) if own else torch.empty_like(tensor, device=device, requires_grad=False)
        here = here.contiguous()
        dist.broadcast(here, 0)
        return here

    _convert(unit, take)
    for module in unit.modules():
        for name, buffer in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            setattr(module, name, take(buffer))


def _convert(model: nn.Module, convert: Callable[[Tensor], Tensor]) -> None:
    """Replace each parameter once, in `parameters()` order; tied ones stay tied."""
    converted: dict[int, Tensor] = {}
    for before in model.parameters():
        converted[id(before)] = _like(before, convert(before))
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            setattr(module, name, converted[id(parameter)])


def _like(parameter: nn.Parameter, value: Tensor) -> Tensor:
    if value is parameter:
        return parameter
    return nn.Parameter(value.detach(), requires_grad=parameter.requires_grad)


def _tensor_plan(model: nn.Module, root: nn.Module, mesh: DeviceMesh) -> dict[str, str]:
    """Return transformers' plan to split matrices: a style by the name of module or parameter; empty without a split.

    Embedding and head stay whole on each rank: the log-probs are computed from a whole head.
    """
    if mesh.size() == 1:
        return {}
    if is_adapted(model):
        raise InputError("tensor_parallel_size: adapters cannot be split: set it to 1, or leave `lora` out")
    if not getattr(root, "tp_plan", None):
        raise InputError(
            f"tensor_parallel_size: transformers has no plan for {type(root).__name__}: set it to 1, and "
            "data_parallel_size to the number of processes"
        )
    language_model = cast(Any, root)
    _check_heads(language_model.config.get_text_config(), mesh.size())
    whole = {id(module) for module in _embeddings(root)}
    kept = tuple(name for name, module in root.named_modules() if id(module) in whole)
    plan = tensor_plan(language_model)
    if plan is None:
        raise InputError(
            "tensor_parallel_size: this transformers does not say how a model is split: install 5.23 or newer, or set "
            "it to 1"
        )
    return {name: style for name, style in plan.items() if not name.startswith(kept)}


def _check_heads(config: Any, size: int) -> None:
    for name in ("num_attention_heads", "num_key_value_heads"):
        heads = getattr(config, name, None)
        if isinstance(heads, int) and heads % size:
            raise InputError(
                f"tensor_parallel_size: {size} does not divide the model's {name}, {heads}: set it to a divisor, or 1"
            )


def _split(root: nn.Module, unit: nn.Module, mesh: DeviceMesh, plan: dict[str, str]) -> None:
    """Split the unit's matrices as the plan says, and take what is done out of the plan."""
    prefix = next(name for name, module in root.named_modules() if module is unit)
    own = {name: plan.pop(name) for name in list(plan) if name.startswith(f"{prefix}." if prefix else "")}
    if own:
        apply_tensor_plan(root, mesh, own)
