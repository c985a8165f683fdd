"""Load the policy: dtype, LoRA, dropout, train mode, gradient checkpointing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import nn

from dpo_lightning.compat.bitsandbytes import keep_quantized_backward
from dpo_lightning.compat.torch import non_persistent_buffers
from dpo_lightning.errors import InputError
from dpo_lightning.utils.hub import check_source
from dpo_lightning.utils.text import one_line

_DTYPES = {
    "bf16-true": torch.bfloat16,
    "16-true": torch.float16,
    "64-true": torch.float64,
    "transformer-engine": torch.bfloat16,
    "transformer-engine-float16": torch.float16,
}


# Where nothing is said, transformers asks at the terminal.
_NO_REMOTE_CODE = {"trust_remote_code": False}

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


@dataclass(frozen=True)
class LoRA:
    """Low-rank adapters on the policy (arXiv:2106.09685), through PEFT.

    Args:
        r: Rank.
        alpha: Scale: the update is multiplied by alpha / r.
        dropout: Dropout on the adapters' input; it stays on when the model's own dropout is off.
        target_modules: Names of the modules to adapt, a regular expression, or `all-linear`, which leaves out the head.
        use_rslora: Multiply by alpha / sqrt(r) instead (arXiv:2312.03732).
        use_dora: Learn magnitude and direction apart (arXiv:2402.09353).
        modules_to_save: Names of modules to train whole, such as a new embedding.
        init_lora_weights: PEFT's initialisation.
    """

    r: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: Union[str, list[str]] = "all-linear"
    use_rslora: bool = False
    use_dora: bool = False
    modules_to_save: Optional[list[str]] = None
    init_lora_weights: Union[bool, str] = True

    def __post_init__(self) -> None:
        if self.r < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise InputError(f"lora: r >= 1, alpha > 0 and 0 <= dropout < 1 are needed, got {self}")


def precision_dtype(precision: str | None) -> torch.dtype:
    """Dtype of the weights under a Lightning precision: what its plugin casts the module to, or float32.

    transformers would take the checkpoint's dtype, which trains bfloat16 master weights under `bf16-mixed`.
    """
    return _DTYPES.get(precision or "32-true", torch.float32)


@dataclass(frozen=True)
class PolicyOptions:
    """How the policy is prepared; the fields are documented at `PreferenceModule`, which hands them on."""

    lora: LoRA | None = None
    quantization_config: Mapping[str, Any] | None = None
    model_kwargs: Mapping[str, Any] | None = None
    gradient_checkpointing: bool = False
    dropout: bool = False


def build_policy(source: Union[str, nn.Module], dtype: torch.dtype, options: PolicyOptions) -> nn.Module:
    """Load or take the policy, and make it ready to train.

    Args:
        source: Hub name or directory of a causal LM or of a PEFT adapter, or a module.
        dtype: Dtype of the weights.
        options: What to do with it.

    Raises:
        InputError: for a model that cannot be loaded, or options that do not fit it.
    """
    if isinstance(source, nn.Module):
        if options.quantization_config or options.model_kwargs:
            raise InputError("quantization_config and model_kwargs load a model: give its name, not a module")
        policy = source
        if not getattr(policy, "is_quantized", False):
            with float32_buffers_kept(policy):
                policy.to(dtype)
    else:
        policy = load_model(source, dtype, options.quantization_config, options.model_kwargs)
    keep_quantized_backward(policy)
    if not options.dropout:
        disable_dropout(policy)
    if options.lora is not None:
        policy = _add_lora(policy, options.lora)
    disable_cache(policy)
    if options.gradient_checkpointing:
        _enable_checkpointing(policy)
    return policy.train()


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
    from transformers import AutoModelForCausalLM

    kwargs = {**_NO_REMOTE_CODE, **(model_kwargs or {})}
    if quantization_config:
        kwargs["quantization_config"] = _quantization(quantization_config, dtype)
    if torch.get_default_device().type == "meta":
        kwargs["device_map"] = "meta"
    check_source("model", name)
    adapter = adapter_config(name)
    base = adapter.base_model_name_or_path if adapter is not None else name
    check_source("base model", base)
    with _one_line(f"model {base!r}"):
        model, found = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, output_loading_info=True, **kwargs)
    if missing := sorted(found["missing_keys"]):
        raise InputError(f"model {base!r}: {len(missing)} weights are not in it and would be random: {missing[:3]}")
    if quantization_config:
        model.requires_grad_(False)
    if adapter is None:
        return model
    from peft import PeftModel

    with _one_line(f"adapter {name!r}"):
        return PeftModel.from_pretrained(model, name, is_trainable=True, autocast_adapter_dtype=False)


def load_config(name: str, model_kwargs: Mapping[str, Any] | None = None) -> Any:
    """The config of the model, or of a trained adapter's base model; cheap, without weights.

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
        return AutoConfig.from_pretrained(base, **kwargs)


def untrained_model(config: Mapping[str, Any], model_kwargs: Mapping[str, Any] | None = None) -> nn.Module:
    """A model of a config, in float32, whose weights are random; the global random state stays.

    Args:
        config: What a Hugging Face config's `to_dict` gives.
        model_kwargs: The arguments of `from_pretrained`, of which `attn_implementation` matters here.

    Raises:
        InputError: for a model that transformers does not know: its code was beside its weights.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    known = {key: value for key, value in (model_kwargs or {}).items() if key == "attn_implementation"}
    with torch.random.fork_rng([]), _one_line(f"model of type {config.get('model_type')!r}"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=torch.float32, **known)


def adapter_config(name: str) -> Any:
    """The PEFT config under a hub name or in a directory, or None.

    Raises:
        InputError: when it cannot be read, or does not name its base model.
    """
    here = Path(name)
    if not ((here / "adapter_config.json").is_file() if here.is_dir() else _is_adapter_on_hub(name)):
        return None
    from peft import PeftConfig

    with _one_line(f"adapter {name!r}"):
        config = PeftConfig.from_pretrained(name)
    if not config.base_model_name_or_path:
        raise InputError(f"adapter {name!r}: its adapter_config.json has no base_model_name_or_path")
    return config


@lru_cache
def _is_adapter_on_hub(name: str) -> bool:
    """Asked once a process: without a network each question takes half a minute of retries."""
    from transformers.utils.peft_utils import find_adapter_config_file

    with _one_line(f"model {name!r}"):
        return find_adapter_config_file(name) is not None


def is_adapted(model: nn.Module) -> bool:
    """Whether the model carries PEFT adapters."""
    return hasattr(model, "peft_config")


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout rate to 0: modules, float attributes that functional dropout reads, and the configs.

    Setting `nn.Dropout.p` alone leaves attention dropout on in 20 of 23 architectures. The attributes are called
    `attention_dropout`, `resid_pdrop`, `layerdrop`, `drop_prob`.
    """
    for module in model.modules():
        if isinstance(module, _DROPOUTS):
            module.p = 0.0
    for holder in [*model.modules(), *_configs(model)]:
        attributes = vars(holder)
        for name, value in attributes.items():
            if is_dropout_rate(name) and isinstance(value, float):
                attributes[name] = 0.0


def is_dropout_rate(name: str) -> bool:
    """Whether an attribute or a config field of this name holds a dropout rate."""
    return "drop" in name


def disable_cache(model: nn.Module) -> None:
    """Keep the model, and any model inside it, from collecting keys and values that nobody reads."""
    for config in _configs(model):
        if hasattr(config, "use_cache"):
            config.use_cache = False


def _configs(model: nn.Module) -> list[Any]:
    """The config of each module that has one; PEFT gives a plain module a dict, which holds no settings."""
    configs = [getattr(module, "config", None) for module in model.modules()]
    return list({id(config): config for config in configs if hasattr(config, "__dict__")}.values())


@contextmanager
def float32_buffers_kept(model: nn.Module) -> Iterator[None]:
    """Undo, for non-persistent float32 buffers, a change of dtype that happens inside; a change of device stays.

    These are RoPE's inverse frequencies: in bfloat16 their cosine is off by more than 1 at position 8000.
    """
    kept = [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False)
        if name in non_persistent_buffers(module) and buffer.dtype == torch.float32
    ]
    yield
    for module, name, before in kept:
        after = module.get_buffer(name)
        if after.dtype != before.dtype:
            setattr(module, name, before.to(after.device))


def _quantization(settings: Mapping[str, Any], dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig
    from transformers.utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise InputError("quantization_config needs bitsandbytes: pip install 'dpo_lightning[qlora]'")
    try:
        return BitsAndBytesConfig(**{"bnb_4bit_compute_dtype": dtype, **settings})
    except (TypeError, ValueError) as error:
        raise InputError(f"quantization_config: {error}") from None


def _add_lora(policy: nn.Module, lora: LoRA) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    if is_adapted(policy):
        raise InputError("lora: the policy carries a trained adapter already; leave `lora` out to train that one on")
    settings = asdict(lora)
    config = LoraConfig(
        task_type="CAUSAL_LM" if hasattr(policy, "prepare_inputs_for_generation") else None,
        lora_alpha=settings.pop("alpha"),
        lora_dropout=settings.pop("dropout"),
        **settings,
    )
    with _one_line("lora"):
        # In the weights' dtype at once: Lightning would cast the adapter later, when a reference has copied it.
        return get_peft_model(policy, config, autocast_adapter_dtype=False)


def _enable_checkpointing(policy: nn.Module) -> None:
    enable: Callable[..., None] | None = getattr(policy, "activation_checkpointing_enable", None)
    if enable is None or not getattr(policy, "supports_gradient_checkpointing", True):
        raise InputError(f"gradient_checkpointing: {type(policy).__name__} does not support it")
    enable(activation_checkpointing_kwargs={"use_reentrant": False})
    if not policy.is_activation_checkpointing:
        raise InputError(f"gradient_checkpointing: {type(policy).__name__} accepted it and left it off")


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turn what a loader raises into one line; a broken weight file and a wrong config field share no base class."""
    try:
        yield
    except Exception as error:
        raise InputError(f"{what}: {one_line(error, 600)}") from error
