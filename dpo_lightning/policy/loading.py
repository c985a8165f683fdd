"""Loading of a causal LM, of an adapter on its base model, or of the config of either, by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dpo_lightning.compat.transformers import named_attentions
from dpo_lightning.errors import InputError
from dpo_lightning.policy.initialisation import check_repeats
from dpo_lightning.policy.modality import check_decoder_config, check_saved_class
from dpo_lightning.utils.hub import check_source
from dpo_lightning.utils.text import nearest, one_line

# Where nothing is said, transformers asks at the terminal.
_NO_REMOTE_CODE = {"trust_remote_code": False}


def load_model(
    name: str,
    dtype: torch.dtype,
    quantization_config: Mapping[str, Any] | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Load a causal LM, or a trained adapter on its base model; without weights where the default device is meta.

    Args:
        name: Hub name or directory.
        dtype: Dtype of the weights.
        quantization_config: Arguments of `transformers.BitsAndBytesConfig`; quantized models come frozen.
        model_kwargs: Further arguments of `from_pretrained`.

    Raises:
        InputError: when there is no such model, weights are missing in it, or the arguments do not fit it.
    """
    kwargs = {**_NO_REMOTE_CODE, **(model_kwargs or {})}
    if quantization_config:
        kwargs["quantization_config"] = _quantization(quantization_config, dtype)
    if torch.get_default_device().type == "meta":
        kwargs["device_map"] = "meta"
    check_source("model", name)
    adapter = adapter_config(name)
    base = adapter.base_model_name_or_path if adapter is not None else name
    check_source("base model", base)
    loader = _loader(f"model {base!r}", load_config(base, model_kwargs))
    with _one_line(f"model {base!r}"):
        model, found = loader.from_pretrained(base, dtype=dtype, output_loading_info=True, **kwargs)
    if missing := sorted(found["missing_keys"]):
        raise InputError(
            f"model {base!r}: {len(missing)} weights are not in it and would be random: {missing[:3]}; give a whole "
            "causal language model"
        )
    if quantization_config:
        model.requires_grad_(False)
    if adapter is None:
        return model
    from peft import PeftModel

    with _one_line(f"adapter {name!r}"):
        check_repeats(adapter)
        return PeftModel.from_pretrained(model, name, is_trainable=True, autocast_adapter_dtype=False)


def load_config(name: str, model_kwargs: Mapping[str, Any] | None = None) -> Any:
    """Load the config of the model, or of a trained adapter's base model; cheap, without weights.

    Raises:
        InputError: when there is none under this name.
    """
    from transformers import AutoConfig

    check_source("model", name)
    adapter = adapter_config(name)
    known = {key: value for key, value in (model_kwargs or {}).items() if key in ("revision", "trust_remote_code")}
    kwargs = {**_NO_REMOTE_CODE, **known}
    base = adapter.base_model_name_or_path if adapter is not None else name
    check_source("base model", base)
    with _one_line(f"model {base!r}"):
        config = AutoConfig.from_pretrained(base, **kwargs)
    _check_kernel(f"model {base!r}", config, model_kwargs)
    check_decoder_config(f"model {base!r}", config)
    check_saved_class(f"model {base!r}", config)
    return config


def untrained_model(config: Mapping[str, Any], model_kwargs: Mapping[str, Any] | None = None) -> nn.Module:
    """Build a model of a config, in float32, with random weights; the global random state stays.

    Args:
        config: What a Hugging Face config's `to_dict` gives.
        model_kwargs: The arguments of `from_pretrained`, of which `attn_implementation` matters here.

    Raises:
        InputError: for a model that transformers does not know: its code was beside its weights.
    """
    from transformers import AutoConfig

    known = {key: value for key, value in (model_kwargs or {}).items() if key == "attn_implementation"}
    what = f"model of type {config.get('model_type')!r}"
    with _one_line(what):
        settings = AutoConfig.for_model(**config)
    _check_kernel(what, settings, model_kwargs)
    with torch.random.fork_rng([]), _one_line(what):
        return _loader(what, settings).from_config(settings, dtype=torch.float32, **_NO_REMOTE_CODE, **known)


def _check_kernel(what: str, config: Any, model_kwargs: Mapping[str, Any] | None) -> None:
    """Refuse a config that takes its attention from the hub: a kernel is code, which the caller must have asked for."""
    named = next((name for name in named_attentions(config) if "/" in name), None)
    if named is not None and "attn_implementation" not in (model_kwargs or {}):
        raise InputError(
            f"{what}: its config names the kernel {named!r}, which is code from the hub: say so, or name another, as "
            "model_kwargs.attn_implementation"
        )


def _loader(what: str, config: Any) -> Any:
    """Return the class of transformers that loads a model: that of causal ones, or of those that see images too.

    Raises:
        InputError: for a model that neither knows.
    """
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
    )

    of_its_own = getattr(config, "auto_map", None) or {}
    for loader, known in (
        (AutoModelForCausalLM, MODEL_FOR_CAUSAL_LM_MAPPING),
        (AutoModelForImageTextToText, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING),
    ):
        if type(config) in known or loader.__name__ in of_its_own:
            return loader
    raise InputError(f"{what} is of the type {config.model_type!r}, of which transformers has no causal language model")


def adapter_config(name: str) -> Any:
    """Return the PEFT config under a hub name or in a directory, or None.

    Raises:
        InputError: when it cannot be read, or does not name its base model.
    """
    here = Path(name)
    if not ((here / "adapter_config.json").is_file() if here.is_dir() else _is_adapter_on_hub(name)):
        return None
    from peft import PeftConfig

    with _one_line(f"adapter {name!r}"):
        config = PeftConfig.from_pretrained(name)
    base = config.base_model_name_or_path
    if not base or not isinstance(base, str):
        said = "has no base_model_name_or_path" if not base else f"has {base!r:.80} as base_model_name_or_path"
        raise InputError(f"adapter {name!r}: its adapter_config.json {said}: write the base model's place there")
    return config


@lru_cache
def _is_adapter_on_hub(name: str) -> bool:
    """Ask the hub, once a process: without a network each question takes half a minute of retries."""
    from transformers.utils.peft_utils import find_adapter_config_file

    with _one_line(f"model {name!r}"):
        return find_adapter_config_file(name) is not None


def check_quantization(settings: Mapping[str, Any]) -> None:
    """Refuse settings that quantize nothing, and those that nothing reads: transformers passes over both.

    Raises:
        InputError: naming them.
    """
    from transformers import BitsAndBytesConfig

    known = [name for name in inspect.signature(BitsAndBytesConfig).parameters if name != "kwargs"]
    for name in settings:
        if name not in known:
            meant = nearest(name, known)
            raise InputError(
                f"model.quantization_config.{name} is no setting of BitsAndBytesConfig: "
                + (f"did you mean `{meant}`?" if meant else f"they are {', '.join(known)}")
            )
    if not (settings.get("load_in_4bit") or settings.get("load_in_8bit")):
        raise InputError("model.quantization_config quantizes nothing: set load_in_4bit or load_in_8bit, or null")


def _quantization(settings: Mapping[str, Any], dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig
    from transformers.utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise InputError("quantization_config needs bitsandbytes: pip install 'dpo_lightning[qlora]'")
    try:
        return BitsAndBytesConfig(**{"bnb_4bit_compute_dtype": dtype, **settings})
    except (TypeError, ValueError) as error:
        raise InputError(f"quantization_config: {error}") from None


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turn what a loader raises into one line; a broken weight file and a wrong config field share no base class."""
    try:
        yield
    except Exception as error:
        raise InputError(f"{what}: {one_line(error, 600)}") from error
