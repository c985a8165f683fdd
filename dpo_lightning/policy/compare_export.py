"""Comparison of an exported directory with the live policy: plain transformers and peft load it, on a few tokens."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dpo_lightning.errors import InputError
from dpo_lightning.policy.adapters import cpu_copy
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.policy.prepare import disable_cache
from dpo_lightning.policy.samples import own_tensors, sampled, samples_in
from dpo_lightning.policy.sharding import is_split
from dpo_lightning.utils.tensors import device_of, float_dtype_of
from dpo_lightning.utils.text import one_line
from dpo_lightning.utils.torch_modes import evaluating

_ROWS, _LENGTH = 2, 12
# Of the logits' size. Rounding stays far below in float32; in half precision it reaches a few epsilon a layer.
_ACCURACY = {torch.float16: 0.02, torch.bfloat16: 0.06}
_ACCURACY_OTHERWISE = 5e-3


def probe_logits(model: nn.Module) -> Float[Tensor, "R L V"]:
    """Return the logits of a few tokens, always the same, float32 in the CPU's memory; the random state stays."""
    tokens = _tokens(model).to(device_of(model))
    with torch.no_grad(), evaluating(model), _random_state_kept(tokens.device):
        return cast(Any, model)(input_ids=tokens).logits.float().cpu()


def check_written(
    directory: Path, model: nn.Module, expected: Float[Tensor, "R L V"], coarsest: torch.dtype, named: str
) -> None:
    """Load what was written, and compare its logits and its trained weights with the policy's.

    Args:
        directory: The directory that was written.
        model: The model that was written there.
        expected: `probe_logits` of the policy.
        coarsest: The dtype, of the policy's and the written one, with the larger rounding.
        named: What an error calls the directory.

    Raises:
        InputError: where it cannot be loaded, or is not the policy.
    """
    try:
        with _random_state_kept(torch.device("cpu")), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said of the policy already
            loaded = _adapted(directory, model) if is_adapted(model) else _whole(directory, model)
        found = probe_logits(loaded)
    except Exception as error:  # a loader raises several kinds, without a base class
        raise InputError(f"export to {named}: what was written cannot be loaded: {one_line(error, 300)}") from error
    difference = _typical_difference(found, expected)
    if not difference <= _accuracy(model, coarsest):
        raise InputError(
            f"export to {named}: loaded again, its logits differ from the policy's by {difference:.1%} of their size, "
            "so nothing was written there; the run's checkpoint still holds what was trained"
        )
    if other := _first_other(_weights(loaded), _weights(model), coarsest):
        raise InputError(
            f"export to {named}: loaded again, its {other} is not the policy's, so nothing was written there; the "
            "run's checkpoint still holds what was trained"
        )


def _accuracy(model: nn.Module, coarsest: torch.dtype) -> float:
    """Return how far the logits may be apart: quantized layers take one kernel or another, by their history."""
    if getattr(model, "is_quantized", False):
        return max(_ACCURACY.values())
    return _ACCURACY.get(coarsest, _ACCURACY_OTHERWISE)


def _tokens(model: nn.Module) -> Int[Tensor, "R L"]:
    getter = getattr(model, "get_input_embeddings", None)
    vocabulary = 2 if getter is None else getter().weight.shape[0]
    return torch.randint(vocabulary, (_ROWS, _LENGTH), generator=torch.Generator().manual_seed(0))


def _whole(directory: Path, model: nn.Module) -> nn.Module:
    return cast(Any, type(model)).from_pretrained(directory, dtype=float_dtype_of(model))


def _adapted(directory: Path, model: nn.Module) -> nn.Module:
    """Load the adapter on its base model: that of its config, or else, where that is not to be had, the live one."""
    from peft import PeftConfig, PeftModel

    config = PeftConfig.from_pretrained(str(directory))
    base = _base_by_name(config, cast(Any, model).get_base_model())
    if base is None:
        base = _live_base(model)
        if hasattr(config, "init_lora_weights"):  # its effect on the base is there
            config.init_lora_weights = False
    return PeftModel.from_pretrained(base, str(directory), config=config, autocast_adapter_dtype=False)


def _base_by_name(config: Any, live: nn.Module) -> nn.Module | None:
    if not config.base_model_name_or_path or not hasattr(type(live), "from_pretrained"):
        return None
    settings: dict[str, Any] = {"dtype": float_dtype_of(live), "revision": config.revision}
    if getattr(live, "is_quantized", False):
        quantization = cast(Any, live).config.quantization_config
        settings |= {"quantization_config": quantization, "device_map": {"": device_of(live)}}
    try:
        base = cast(Any, type(live)).from_pretrained(config.base_model_name_or_path, **settings)
    except Exception:  # no network, no rights any more: the base in memory is there
        return None
    disable_cache(base)  # which some adapters ask for
    return base


def other_base(live: nn.Module, name: str | None, revision: str | None = None) -> str | None:
    """Return why nobody could load an adapter: its base, a module that was given, is not the model under its name.

    Args:
        live: The base, adapters inside it or not.
        name: The name that the adapter will have for it; null for none.
        revision: Its revision on the hub.
    """
    if is_split(live) or getattr(live, "is_quantized", False):
        return None
    base = _base_by_name(SimpleNamespace(base_model_name_or_path=name, revision=revision), live)
    if base is None:
        return None
    here = {_own_name(key): value for key, value in own_tensors(live).items()}
    there = {key: value for key, value in own_tensors(base).items() if key in here}
    now, then = samples_in(sampled({key: here[key] for key in there})), samples_in(sampled(there))
    for key, sample in now.items():
        if sample.shape != then[key].shape or not torch.equal(sample.values.to(then[key].values), then[key].values):
            return (
                f"its base model is a module whose {key} is not that of the model under its name, {name}, on which "
                "alone others could load it: export the merged weights, or save that base model and train on it"
            )
    return None


def _own_name(name: str) -> str:
    """Return the name of a base's tensor without the wrappers that adapters lay around its layers."""
    return name.replace(".base_layer.", ".").replace(".original_module.", ".")


def _live_base(model: nn.Module) -> nn.Module:
    copied = cast(Any, cpu_copy(model))
    return copied.base_model.unload() if hasattr(copied.base_model, "unload") else copied.get_base_model()


def _weights(model: nn.Module) -> Mapping[str, Tensor]:
    """Return the weights that an export holds: an adapter's, or all."""
    if not is_adapted(model):
        return dict(model.named_parameters())
    from peft import get_peft_model_state_dict

    name = cast(Any, model).active_adapter
    return get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)


def _first_other(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], dtype: torch.dtype) -> str | None:
    """Return the name of a weight that is not the same in the coarsest dtype, or is missing; None without one."""
    for name, weight in expected.items():
        if name not in found or not torch.equal(_rounded(found[name], dtype), _rounded(weight, dtype)):
            return name
    return None


def _rounded(weight: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.detach().cpu().to(dtype) if weight.is_floating_point() else weight.detach().cpu()


def _typical_difference(found: Float[Tensor, "R L V"], expected: Float[Tensor, "R L V"]) -> float:
    """Return the median over positions of the relative error: rounding may send a token to another expert."""
    if found.shape != expected.shape:
        return float("inf")
    sizes = (expected - expected.mean(-1, keepdim=True)).norm(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
    return ((found - expected).norm(dim=-1) / sizes).median().item()


@contextmanager
def _random_state_kept(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
