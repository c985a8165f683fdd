"""Low-rank adapters on the policy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Optional, Union

from torch import nn

from dpo_lightning.errors import InputError
from dpo_lightning.utils.settings import MOMENTUM, POSITIVE, at_least, require
from dpo_lightning.utils.text import one_line


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

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from dpo_lightning import LoRA, PreferenceModule
        >>> config = LlamaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        >>> adapters = LoRA(r=4, target_modules=["q_proj", "v_proj"])
        >>> module = PreferenceModule(LlamaForCausalLM(config), lora=adapters)
        >>> module.configure_model()
        >>> sum(weight.numel() for weight in module.policy.parameters() if weight.requires_grad)  # 2 x 2 x 16 x 4
        256
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
        require(self, "lora", r=at_least(1), alpha=POSITIVE, dropout=MOMENTUM)


def is_adapted(model: nn.Module) -> bool:
    """Return whether the model carries PEFT adapters."""
    return hasattr(model, "peft_config")


def add_lora(policy: nn.Module, lora: LoRA) -> nn.Module:
    """Put new adapters on the policy, in the dtype of its weights.

    Raises:
        InputError: when it carries adapters already, or the settings do not fit it.
    """
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
    try:
        # In the weights' dtype at once: Lightning would cast the adapter later, when a reference has copied it.
        return get_peft_model(policy, config, autocast_adapter_dtype=False)
    except Exception as error:  # PEFT raises several kinds, without a base class
        raise InputError(f"lora: {one_line(error, 600)}") from error
