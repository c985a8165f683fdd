"""The model of a LLaMA-Factory config: its name, adapters, quantisation, precision."""

from __future__ import annotations

from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.running import precision as shared_precision
from dpo_lightning.cli.ways_over.tree import From, Tree, made

_BASE = "the reference is the base without this adapter there, and so here (AdapterOff)"
_LORA = ("lora_rank", "lora_alpha", "lora_target", "additional_target", "use_rslora", "use_dora")


def policy(draft: Draft) -> None:
    """Write the policy, and what `from_pretrained` is given."""
    given = draft.given
    adapter = given["adapter_name_or_path"]
    if adapter is not None and "," in adapter:
        draft.refuse("adapter_name_or_path", "several adapters: merge all but the last into the model first")
    draft.take("model.policy", "model_name_or_path" if adapter is None else "adapter_name_or_path")
    if adapter is not None and given["ref_model"] is None:
        if given["stage"] == "kto" or given["pref_loss"] not in ("orpo", "simpo"):
            draft.put("model.reference", made("AdapterOff", given.because("adapter_name_or_path")))
            draft.put("model.step_zero_check", From(False, "the policy has left its reference already"))
        draft.differs("adapter_name_or_path", _BASE)
    kwargs: dict[str, Tree] = {}
    for name, ours in (("trust_remote_code", "trust_remote_code"), ("cache_dir", "cache_dir")):
        if given[name]:
            kwargs[ours] = given.of(name)
    if given["model_revision"] != "main":
        kwargs["revision"] = given.of("model_revision")
    if kwargs:
        draft.put("model.model_kwargs", kwargs)


def adapters(draft: Draft) -> None:
    """Write `model.lora`."""
    given = draft.given
    kind = given["finetuning_type"]
    if kind in ("freeze", "oft"):
        draft.refuse("finetuning_type", "lora and full are here: take one of them")
    if kind != "lora" or given["adapter_name_or_path"] is not None:
        why = (
            "all weights are trained"
            if kind != "lora"
            else "adapter_name_or_path goes on with an adapter that has its own"
        )
        for name in (each for each in _LORA if given.asks(each)):
            draft.nothing_there(name, why)
        return
    found: dict[str, Tree] = {
        "r": given.of("lora_rank"),
        "alpha": _alpha(draft),
        "dropout": From(0.0, "its trainers switch dropout off, also that of adapters"),
        "target_modules": given.of("lora_target", _target),
    }
    if given["additional_target"]:
        found["modules_to_save"] = given.of("additional_target", _listed)
    for name in ("use_rslora", "use_dora"):
        if given[name]:
            found[name] = given.of(name)
    draft.put("model.lora", found)


def _alpha(draft: Draft) -> From:
    given = draft.given
    if given["lora_alpha"]:
        return given.of("lora_alpha", float)
    return From(2.0 * given["lora_rank"], "twice lora_rank, lora_alpha's default there")


def _listed(names: str) -> list[str]:
    return [each.strip() for each in names.split(",")]


def _target(names: str) -> str | list[str]:
    return "all-linear" if names == "all" else _listed(names)


def quantisation(draft: Draft) -> None:
    """Write `model.quantization_config`."""
    given = draft.given
    bits = given["quantization_bit"]
    if bits is None:
        for name in ("quantization_method", "quantization_type", "double_quantization"):
            if given.asks(name):
                draft.nothing_there(name, "quantization_bit is not set")
        return
    if bits not in (4, 8) or given["quantization_method"] not in ("bnb", "bitsandbytes"):
        name = "quantization_bit" if bits not in (4, 8) else "quantization_method"
        draft.refuse(name, "bitsandbytes' 4 and 8 bits are here: take one of them")
    elif bits == 8:
        draft.put("model.quantization_config", {"load_in_8bit": From(True, given.because("quantization_bit"))})
    else:
        computes = "bfloat16" if given["bf16"] or given["pure_bf16"] else "float16" if given["fp16"] else "float32"
        found: dict[str, Tree] = {
            "load_in_4bit": From(True, given.because("quantization_bit")),
            "bnb_4bit_quant_type": given.of("quantization_type"),
            "bnb_4bit_use_double_quant": given.of("double_quantization"),
            "bnb_4bit_compute_dtype": From(computes, "as the precision"),
        }
        draft.put("model.quantization_config", found)


def checkpointing(draft: Draft) -> None:
    """Write whether activations are computed again, which they are unless it is disabled."""
    given = draft.given
    on = not given["disable_gradient_checkpointing"]
    draft.put("model.gradient_checkpointing", From(on, given.because("disable_gradient_checkpointing")))
    if given.asks("gradient_checkpointing"):
        draft.nothing_there("gradient_checkpointing", "disable_gradient_checkpointing decides")


def precision(draft: Draft) -> None:
    """Write the precision: what is trained is float32, unless `pure_bf16` says otherwise."""
    given = draft.given
    if given["pure_bf16"]:
        draft.put("trainer.precision", From("bf16-true", given.because("pure_bf16")))
    else:
        shared_precision(draft, bf16=bool(given["bf16"]))
