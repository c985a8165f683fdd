"""The model of a config of TRL: its name, how it is loaded, adapters and quantisation."""

from __future__ import annotations

from typing import Any

from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.running import precision as write_precision
from dpo_lightning.cli.ways_over.tree import From, Tree

_LORA = (
    *("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_target_parameters", "lora_modules_to_save"),
    *("use_rslora", "use_dora"),
)
_MORE = {
    "lora_target_parameters": "target_parameters",
    "lora_modules_to_save": "modules_to_save",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
}
_BITS = ("bnb_4bit_quant_type", "use_bnb_nested_quant", "bnb_4bit_quant_storage")
_USUAL = ["q_proj", "v_proj"]
_PASSED = {
    "model_revision": "revision",
    "trust_remote_code": "trust_remote_code",
    "attn_implementation": "attn_implementation",
}
_NOT_PASSED = ("dtype", "torch_dtype", "device_map", "use_cache", "quantization_config", "token")

_INSTEAD = {
    "quantization_config": "set load_in_4bit instead of its quantization_config",
    "token": "a config holds no secrets: set HF_TOKEN in the environment",
}


def policy(draft: Draft) -> None:
    """Write the policy's name, and what `from_pretrained` is given."""
    given = draft.given
    if given["model_name_or_path"] is None:
        draft.refuse("model_name_or_path", "a run needs a model: name it")
    draft.take("model.policy", "model_name_or_path")
    kwargs: dict[str, Tree] = {ours: given.of(name) for name, ours in _PASSED.items() if given.asks(name)}
    more = given["model_init_kwargs"] or {}
    kwargs |= {
        name: From(value, given.because("model_init_kwargs")) for name, value in more.items() if name not in _NOT_PASSED
    }
    for name in (name for name in _INSTEAD if name in more):
        draft.refuse("model_init_kwargs", _INSTEAD[name])
    if {more.get(name, given["dtype"]) for name in ("dtype", "torch_dtype")} != {given["dtype"]}:
        draft.refuse("model_init_kwargs", "its dtype comes before dtype there: set dtype alone")
    if kwargs:
        draft.put("model.model_kwargs", kwargs)


def precision(draft: Draft) -> None:
    """Write the precision; without bf16 and fp16, bf16 is on there."""
    given = draft.given
    on = not given["fp16"] if given["bf16"] is None else bool(given["bf16"])
    write_precision(draft, bf16=on)
    if given.says("dtype") and given["dtype"] in (None, "auto"):
        draft.differs("dtype", "weights are loaded as the checkpoint has them there; here they are trained in float32")


def dropout(draft: Draft) -> None:
    """Write the model's own dropout, which is off there unless asked for."""
    given = draft.given
    if not given["disable_dropout"]:
        draft.put("model.dropout", From(True, given.because("disable_dropout")))


def adapters(draft: Draft) -> None:
    """Write `model.lora`."""
    given = draft.given
    if not given["use_peft"]:
        for name in _LORA:
            if given.asks(name):
                draft.nothing_there(name, "use_peft is not set: all weights are trained")
        return
    found: dict[str, Tree] = {"r": given.of("lora_r"), "alpha": given.of("lora_alpha", float)}
    found["dropout"] = _lora_dropout(draft)
    modules = given["lora_target_modules"]
    if modules is None:
        draft.differs("use_peft", "lora_target_modules is peft's choice for the architecture there; q_proj and v_proj")
        found["target_modules"] = From(_USUAL, "lora_target_modules by default there, for most models")
    else:
        found["target_modules"] = given.of("lora_target_modules", _one_or_all)
    found |= {ours: given.of(name) for name, ours in _MORE.items() if given.asks(name)}
    draft.put("model.lora", found)


def _one_or_all(modules: list[str]) -> Any:
    return modules[0] if len(modules) == 1 else modules


def _lora_dropout(draft: Draft) -> Tree:
    given = draft.given
    if not given["disable_dropout"]:
        return given.of("lora_dropout")
    if given["lora_dropout"] and given.says("lora_dropout"):
        draft.nothing_there("lora_dropout", "disable_dropout, on by default, switches it off: set model.lora.dropout")
    return From(0.0, f"{given.because('disable_dropout')}, which switches it off")


def quantisation(draft: Draft) -> None:
    """Write `model.quantization_config`."""
    given = draft.given
    found: dict[str, Tree] = {}
    if given["load_in_4bit"]:
        computes = "float32" if given["dtype"] in (None, "auto") else given["dtype"]
        found = {
            "load_in_4bit": given.of("load_in_4bit"),
            "bnb_4bit_compute_dtype": From(computes, given.because("dtype")),
            "bnb_4bit_quant_type": given.of("bnb_4bit_quant_type"),
            "bnb_4bit_use_double_quant": given.of("use_bnb_nested_quant"),
        }
        if given["bnb_4bit_quant_storage"] is not None:
            found["bnb_4bit_quant_storage"] = given.of("bnb_4bit_quant_storage")
    elif given["load_in_8bit"]:
        found = {"load_in_8bit": given.of("load_in_8bit")}
    if found:
        draft.put("model.quantization_config", found)
    if not given["load_in_4bit"]:
        for name in _BITS:
            if given.asks(name):
                draft.nothing_there(name, "load_in_4bit is not set")


def compiled(draft: Draft) -> None:
    """Write what of the layers is compiled."""
    given = draft.given
    if given["torch_compile"]:
        draft.put("model.fused_layers", From("compile", given.because("torch_compile")))
        draft.differs("torch_compile", "the elementwise work of the layers is compiled, not the whole model")
