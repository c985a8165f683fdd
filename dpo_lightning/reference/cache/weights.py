"""A reference as one hash: the same on every machine, and another one when anything differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.policy.narrow_base import wide_dtypes
from dpo_lightning.policy.prepare import is_dropout_rate
from dpo_lightning.utils.ranks import from_rank_zero, this_rank
from dpo_lightning.utils.tensors import whole

# Settings of a config that say where a model comes from or how it is run, not what it computes.
_NO_SETTINGS = {"architectures", "attn_implementation", "dtype", "torch_dtype", "transformers_version", "use_cache"}
_NO_ADAPTER_SETTINGS = {"base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type"}
_HASHING_THREADS = 8


class _Weight(NamedTuple):
    """A tensor, and the dtype that it is hashed in: that of its values before a run held them narrow."""

    tensor: Tensor
    dtype: torch.dtype


def weights_hash(model: nn.Module, *, adapters: bool = True) -> str:
    """Return BLAKE2b-128 of the names, shapes, dtypes and bytes of all weights and saved buffers, and of the settings.

    A model with adapters that are left out has the hash of the model without them. Sharded weights are gathered one by
    one, which every rank must take part in. Costs a pass over the weights, some 1 GB/s on each core.

    Args:
        model: The model; none of its weights on the meta device.
        adapters: Whether its PEFT adapters count.
    """
    named = dict(_named_weights(model, adapters))
    here = all(type(each.tensor) is not DTensor and each.tensor.device.type == "cpu" for each in named.values())
    with ThreadPoolExecutor(_HASHING_THREADS if here else 1) as threads:
        # One after the other where weights are gathered or copied, for order and for memory.
        digests = list((threads.map if here else map)(_digest, named.values()))
    digest = blake2b(json.dumps(model_settings(model, adapters), sort_keys=True, default=str).encode(), digest_size=16)
    for name, each, content in sorted(zip(named, named.values(), digests, strict=True), key=lambda entry: entry[0]):
        digest.update(f"{name} {tuple(each.tensor.shape)} {each.dtype} ".encode() + content)
    return digest.hexdigest()


def agreed_weights_hash(model: nn.Module, *, adapters: bool = True) -> str:
    """Return the hash as rank 0 finds it, on every rank: the others may hold weights on the meta device."""
    return cast(str, from_rank_zero(weights_hash(model, adapters=adapters) if this_rank() == 0 else None))


def _digest(weight: _Weight) -> bytes:
    content = whole(weight.tensor).detach().cpu().to(weight.dtype).contiguous().flatten().view(torch.uint8)
    return blake2b(cast(Any, content.numpy()), digest_size=16).digest()


def _named_weights(model: nn.Module, adapters: bool) -> Iterator[tuple[str, _Weight]]:
    wide = wide_dtypes(model)
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, Tensor):
            continue
        weight = _Weight(tensor, wide.get(name, tensor.dtype))
        if adapters or not is_adapted(model):
            yield name, weight
        elif not _is_adapters(name, model):
            yield _base_name(name), weight


def _is_adapters(name: str, model: nn.Module) -> bool:
    prefix = getattr(cast(Any, model).base_model, "prefix", "prompt_encoder")
    return f".{prefix}" in name or name.startswith(prefix) or ".modules_to_save." in name


def _base_name(name: str) -> str:
    """Return the name in the model without adapters."""
    for wrapper in ("base_model.model.", "base_layer.", "original_module."):
        name = name.replace(wrapper, "")
    return name


def model_settings(model: nn.Module, adapters: bool) -> dict[str, Any]:
    """Return what the weights alone do not tell: RoPE's base, windows, an adapter's scale."""
    base = cast(Any, model).get_base_model() if is_adapted(model) else model
    config: Any = getattr(base, "config", None)
    settings = {"model": _meaningful(config.to_dict()) if hasattr(config, "to_dict") else {}}
    if adapters and is_adapted(model):
        configs = cast(Any, model).peft_config.items()
        settings["adapters"] = {name: _meaningful(adapter.to_dict()) for name, adapter in configs}
    return settings


def _meaningful(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _meaningful(item) for name, item in value.items() if _counts(str(name))}
    return sorted(value) if isinstance(value, set) else value


def _counts(name: str) -> bool:
    return not (name.startswith("_") or is_dropout_rate(name) or name in _NO_SETTINGS or name in _NO_ADAPTER_SETTINGS)
