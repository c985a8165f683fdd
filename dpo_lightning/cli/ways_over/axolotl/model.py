"""The model of an axolotl config: its name, adapters, quantisation and precision."""

from __future__ import annotations

from typing import Any

from dpo_lightning.cli.ways_over.axolotl.fields import OF_SPECIAL_TOKENS_NAMES
from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.fields import Fate
from dpo_lightning.cli.ways_over.tree import From, Tree

_LORA = {
    "lora_target_parameters": "target_parameters",
    "lora_modules_to_save": "modules_to_save",
    "peft_use_dora": "use_dora",
    "peft_use_rslora": "use_rslora",
    "peft_init_lora_weights": "init_lora_weights",
    "peft_trainable_token_indices": "trainable_token_indices",
    "peft_ensure_weight_tying": "ensure_weight_tying",
}
_ONLY = ("lora_r", "lora_alpha", "lora_target_modules", "lora_target_linear", "lora_dropout", *_LORA)
_LEFT = "adapter is not set: all weights are trained"
_CARD = "bf16 where the card has it, and fp16 where not; here bf16: give trainer.precision for another card"


def policy(draft: Draft) -> None:
    """Write the policy, its tokenizer, and what `from_pretrained` is given."""
    given = draft.given
    trained = "lora_model_dir" if given["lora_model_dir"] else "base_model"
    draft.take("model.policy", trained)
    if trained == "lora_model_dir":
        draft.differs("lora_model_dir", "the base model is the one that the adapter names")
    if given["tokenizer_config"] not in (None, given["base_model"]):
        draft.take("data.tokenizer", "tokenizer_config")
    kwargs: dict[str, Tree] = {}
    for name, ours in (("model_revision", "revision"), ("revision_of_model", "revision")):
        if given[name]:
            kwargs[ours] = given.of(name)
    if given["trust_remote_code"]:
        kwargs["trust_remote_code"] = given.of("trust_remote_code")
    for name in ("model_kwargs", "overrides_of_model_kwargs"):
        kwargs |= {key: From(value, given.because(name)) for key, value in (given[name] or {}).items()}
    if kwargs:
        draft.put("model.model_kwargs", kwargs)
    _special_tokens(draft)


def _special_tokens(draft: Draft) -> None:
    for name, value in (draft.given["special_tokens"] or {}).items():
        each = OF_SPECIAL_TOKENS_NAMES[name]
        if value is not None and each.fate is Fate.REFUSED:
            draft.refuse(f"special_tokens.{name}", each.said)
        elif value is not None:
            draft.tell(each.fate, f"special_tokens.{name}", f"{value}: {each.said}")


def adapters(draft: Draft) -> None:
    """Write `model.lora`."""
    given = draft.given
    kind = given["adapter"]
    if kind not in (None, "lora", "qlora"):
        draft.refuse("adapter", "lora and qlora are here: take one of them")
        return
    if kind is None or given["lora_model_dir"]:
        why = _LEFT if kind is None else "lora_model_dir goes on with an adapter that has its own"
        for name in (each for each in _ONLY if given.asks(each) and each != "lora_dropout"):
            draft.nothing_there(name, why)
        return
    found: dict[str, Tree] = {
        "r": _required(draft, "lora_r"),
        "alpha": _required(draft, "lora_alpha"),
        "dropout": From(0.0, "TRL's trainers switch dropout off, also that of adapters"),
        "target_modules": _target(draft),
    }
    found |= {ours: given.of(name) for name, ours in _LORA.items() if given.asks(name)}
    draft.put("model.lora", found)


def _required(draft: Draft, name: str) -> From:
    if draft.given[name] is None:
        draft.refuse(name, "an adapter needs it: give a number")
    return draft.given.of(name)


def _target(draft: Draft) -> From:
    given = draft.given
    modules: Any = given["lora_target_modules"] or []
    if given["lora_target_linear"]:
        if modules:
            draft.nothing_there("lora_target_modules", "lora_target_linear takes every linear layer anyway")
        return From("all-linear", given.because("lora_target_linear"))
    if not modules and not given["lora_target_parameters"]:
        draft.refuse("lora_target_modules", "an adapter needs layers: list them, or set lora_target_linear: true")
    return From(modules[0] if len(modules) == 1 else modules, given.because("lora_target_modules"))


def quantisation(draft: Draft) -> None:
    """Write `model.quantization_config`: axolotl quantises the base of adapters alone."""
    given = draft.given
    found: dict[str, Tree] = {}
    if given["adapter"] == "qlora" and given["load_in_4bit"]:
        said = given.because("load_in_4bit")
        found = {
            "load_in_4bit": From(True, said),
            "bnb_4bit_quant_type": From("nf4", "axolotl's"),
            "bnb_4bit_use_double_quant": From(True, "axolotl's"),
            "bnb_4bit_compute_dtype": From(_weights(draft), "as the precision"),
        }
    elif given["adapter"] == "lora" and given["load_in_8bit"]:
        found = {"load_in_8bit": given.of("load_in_8bit")}
    else:
        for name in ("load_in_4bit", "load_in_8bit"):
            if given[name]:
                draft.refuse(name, "4 bits go with adapter: qlora, 8 bits with adapter: lora")
    found |= {key: From(value, "bnb_config_kwargs") for key, value in (given["bnb_config_kwargs"] or {}).items()}
    if found:
        draft.put("model.quantization_config", found)


def _weights(draft: Draft) -> str:
    """Return the dtype in which axolotl loads weights."""
    given = draft.given
    if _bf16(draft):
        return "bfloat16"
    halves = given["load_in_8bit"] or given["fp16"] or given["float16"]
    return "float16" if halves else "float32"


def _bf16(draft: Draft) -> bool:
    given = draft.given
    if given["bf16"] == "auto":
        return not given["fp16"]
    return bool(given["bf16"] or given["bfloat16"])


def precision(draft: Draft) -> None:
    """Write the precision: axolotl loads weights in the short dtype, and PEFT makes adapters float32."""
    given = draft.given
    if given["bf16"] not in ("auto", "full", True, False, None):
        draft.refuse("bf16", "true, false, auto or full")
    dtype = _weights(draft)
    short = {"bfloat16": "bf16", "float16": "16"}.get(dtype)
    names = [name for name in ("bf16", "fp16", "bfloat16", "float16", "float32") if given.asks(name)] or ["bf16"]
    written = "32-true" if short is None else f"{short}-{'mixed' if given['adapter'] else 'true'}"
    if dtype == "float16":
        written = "16-mixed"
        if not given["adapter"]:
            draft.differs(names[0], "all weights are float16 there, which seldom trains; here they stay in float32")
    draft.put("trainer.precision", From(written, given.because(*names)))
    if given["bf16"] == "auto" and given.says("bf16") and _bf16(draft):
        draft.differs("bf16", _CARD)


def checkpointing(draft: Draft) -> None:
    """Write whether activations are computed again."""
    given = draft.given
    value = given["gradient_checkpointing"]
    if value not in (True, False, None, "offload", "offload_disk"):
        draft.refuse("gradient_checkpointing", "true, false or offload")
    written = "offload" if value in ("offload", "offload_disk") else bool(value)
    if value == "offload_disk":
        draft.differs("gradient_checkpointing", "to the memory of the host here, not to a disk")
    if given["activation_offloading"]:
        written = "offload"
    draft.put("model.gradient_checkpointing", From(written, given.because("gradient_checkpointing")))
