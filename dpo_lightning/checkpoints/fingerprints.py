"""The base and the reference that a checkpoint belongs to: held in it, and compared with those of who loads it.

A checkpoint holds the trained weights alone. Onto another base they are another model, and a reference that is loaded
again from a directory that was overwritten is another reference, without an error. So each checkpoint has samples of
what it does not hold, as that was before training: 128 values of each tensor, at fixed places (`policy.samples`).

Values are compared bit for bit where the dtypes are equal. Of two dtypes, the finer one is rounded to the coarser, as
Lightning does for another precision; float16 and bfloat16 are compared within their rounding. Quantized weights depend
on the kernel that rounded them, so they are compared on the same kind of device and in the same precision only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from dpo_lightning.checkpoints.contents import IDENTITY, MOVED_REFERENCE, STATE_DICT
from dpo_lightning.checkpoints.plain_form import NoPlainForm, plain_form
from dpo_lightning.checkpoints.settings import Difference, differences, told
from dpo_lightning.errors import InputError
from dpo_lightning.policy.initialisation import moves_base
from dpo_lightning.policy.samples import Sample, samples_in
from dpo_lightning.reference import FrozenModule, LostReference, Precomputed, Reference
from dpo_lightning.run import PreferenceRun

_PREFIX = "policy."
_NAMED = 3  # tensors that a message names
_GIVE_MODULE = "Give reference= the module of its run"
_GIVE_MODEL = (
    "Give `policy`, or the reference's checkpoint, the model of its run as it was then: an export may have replaced it"
)

# Fields of a config that leave the logits as they are.
_NO_LOGITS = {"id2label", "label2id", "problem_type", "return_dict", "initializer_range", "pretraining_tp", "tokenizer"}
_NO_LOGITS_ENDS = ("_token_id", "_cache", "output_attentions", "output_hidden_states", "router_logits")

# What of an adapter can change under trained weights: their scale. Its other settings say what the weights are.
_SCALES = {"lora_alpha": "lora.alpha", "use_rslora": "lora.use_rslora"}

# What says which modules an adapter is of, perhaps in other words: the names of the weights tell, which PEFT changes.
_PLACES = {"target_modules", "exclude_modules", "target_parameters", "modules_to_save"}
_PLACES |= {"layers_to_transform", "layers_pattern"}


def add_identity(run: PreferenceRun, checkpoint: dict[str, Any]) -> None:
    """Say in a checkpoint which base and which reference it belongs to."""
    identity = run.identity
    checkpoint[IDENTITY] = {
        "policy": dict(identity.policy),
        "reference": {**identity.reference, "settings": _reference_form(identity.settings)},
    }


class OtherReferenceError(InputError):
    """A reference that is that of a checkpoint by its settings, and another one by its weights."""


def check_identity(run: PreferenceRun, checkpoint: Mapping[str, Any], trained: Collection[str]) -> list[Difference]:
    """Compare base, adapters, quantization and reference of a checkpoint with those of a run.

    A reference that nobody reads is not compared, nor one that had moved: its weights are in the checkpoint.

    Args:
        run: The run that takes the checkpoint, its policy and reference built.
        checkpoint: The saved one.
        trained: Names of the weights that it holds.

    Returns:
        What may differ, where the user says so: settings of the adapters' scale, and another reference.

    Raises:
        InputError: for a base, adapters or a quantization with which the trained weights are another model; an
            `OtherReferenceError` where it is only the reference.
    """
    saved = checkpoint.get(IDENTITY)
    if saved is None:
        rank_zero_info(
            "the checkpoint was written by a version that did not keep which base model and reference it belongs to: "
            "that these are the ones it was trained with cannot be checked"
        )
        return []
    here = run.identity
    if bool(saved["policy"]["adapters"]) is not bool(here.policy["adapters"]):
        return []  # the trained weights have other names, which a load refuses
    found = _check_adapters(saved["policy"], here.policy)
    _check_base(saved["policy"], here.policy, trained)
    return found if MOVED_REFERENCE in checkpoint else [*found, *_check_reference(saved["reference"], run)]


def _check_adapters(saved: Mapping[str, Any], here: Mapping[str, Any]) -> list[Difference]:
    """Return the differences of scale; refuse others."""
    found = []
    same_places = samples_in(saved["weights"]).keys() == samples_in(here["weights"]).keys()
    for name in saved["adapters"].keys() & here["adapters"].keys():
        for each in differences("", saved["adapters"][name], here["adapters"][name]):
            if (same_places and each.name in _PLACES) or _begins_otherwise(each):
                continue
            key = _SCALES.get(each.name)
            if key is None:
                place = f"lora.{each.name}" if name == "default" else f"the adapter {name}'s {each.name}"
                raise InputError(
                    f"the checkpoint's adapter has {told(each._replace(name=place))}: its weights fit no other: give "
                    "the `lora`, or the adapter, of its run"
                )
            found.append(each._replace(name=key))
    if different := differences("quantization_config", saved["quantization"], here["quantization"], strict=True):
        raise InputError(
            f"the checkpoint was trained on a base with {told(different[0])}, which has other weights: give the "
            "quantization_config of its run"
        )
    return found


def _begins_otherwise(each: Difference) -> bool:
    """Return whether only the first weights of an adapter differ, in whose place those of the checkpoint come."""
    return each.name == "init_lora_weights" and not (moves_base(each.before) or moves_base(each.now))


def _check_base(saved: Mapping[str, Any], here: Mapping[str, Any], trained: Collection[str]) -> None:
    for each in differences("", saved["model"], here["model"]):
        leaf = each.name.rpartition(".")[2]
        if each.name.partition(".")[0] not in _NO_LOGITS and not leaf.endswith(_NO_LOGITS_ENDS):
            raise InputError(
                f"the checkpoint was trained on a model whose config has {told(each)}: give `policy` the model of its "
                "run"
            )
    same_place = saved["device"] == here["device"] and saved["dtype"] == here["dtype"]
    before, now = samples_in(saved["weights"]), samples_in(here["weights"])
    held = {name.removeprefix(_PREFIX) for name in trained}
    names = [name for name in before if name not in held]
    if not same_place:
        quantized = _quantized(before) | _quantized(now)
        names = [name for name in names if not name.startswith(tuple(quantized))]
    if different := list(_different(before, now, names)):
        raise InputError(
            f"the checkpoint was trained on other base weights than this run's policy: {_counted(different, names)}. "
            "Give `policy` the model of its run as it was then: an export may have replaced it"
        )


def _check_reference(saved: Mapping[str, Any], run: PreferenceRun) -> list[Difference]:
    """Return the settings of another reference that was asked for; refuse other weights under equal settings."""
    here = run.identity
    if isinstance(here.settings, LostReference) or not run.reads_reference:
        return []
    before, now = saved["settings"], _reference_form(here.settings)
    if _class_of(before) != _class_of(now):
        return [Difference("reference", _class_of(before), _class_of(now))]
    samples, samples_now = samples_in(saved["weights"]), samples_in(here.reference["weights"])
    different = list(_different(samples, samples_now, list(samples))) or _other_hash(saved, here.reference)
    if not different:
        return []
    if other := differences("reference", before, now):
        return other
    remedy = _GIVE_MODULE if isinstance(here.settings, FrozenModule) else _GIVE_MODEL
    raise OtherReferenceError(
        f"the checkpoint's run compared with another reference than this {_class_of(now)}: "
        f"{_counted(different, samples)}. {remedy}. For the trained policy alone, load it with objective=SFT() and "
        "reference=NoReference()"
    )


def _other_hash(saved: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Compare the hashes of all bytes, which stand for one dtype."""
    both = saved["hash"], here["hash"]
    if None in both or both[0] == both[1] or saved["weights"]["dtypes"] != here["weights"]["dtypes"]:
        return []
    return ["the hash of all weights"]


def _reference_form(settings: Reference) -> Any:
    """Return the plain form of what is scored: a cache has the values of its source."""
    if isinstance(settings, Precomputed) and settings.source is not None:
        return _reference_form(settings.source)
    try:
        return plain_form(settings)
    except NoPlainForm:
        return {"class_path": type(settings).__name__, "init_args": {}}


def _class_of(form: Mapping[str, Any]) -> str:
    return str(form["class_path"]).rpartition(".")[2]


def _different(before: Mapping[str, Sample], now: Mapping[str, Sample], names: Collection[str]) -> Iterator[str]:
    for name in names:
        if name not in now or not _equal(before[name], now[name]):
            yield name


def _equal(one: Sample, other: Sample) -> bool:
    return one.shape == other.shape and _equal_values(one.values, other.values)


def _equal_values(before: Tensor, now: Tensor) -> bool:
    if before.dtype == now.dtype:
        return torch.equal(before.view(torch.uint8), now.view(torch.uint8))
    if not (before.is_floating_point() and now.is_floating_point()):
        return False
    coarse, fine = sorted((before, now), key=lambda each: torch.finfo(each.dtype).bits)
    if torch.finfo(coarse.dtype).bits < torch.finfo(fine.dtype).bits:
        return torch.equal(fine.to(coarse.dtype), coarse)
    epsilon = max(torch.finfo(each.dtype).eps for each in (coarse, fine))
    return torch.allclose(coarse.double(), fine.double(), rtol=epsilon, atol=1e-7, equal_nan=True)


def _quantized(samples: Mapping[str, Sample]) -> set[str]:
    """Return the prefixes of quantized modules' names: their weights are integers, with a state of floats."""
    integers = (name for name, sample in samples.items() if not sample.values.is_floating_point())
    return {f"{name.rpartition('.')[0]}." for name in integers}


def _counted(different: Collection[str], names: Collection[str]) -> str:
    named = ", ".join(list(different)[:_NAMED])
    return f"{len(different)} of {len(names)} tensors differ ({named}{', ...' if len(different) > _NAMED else ''})"


def held_weights(checkpoint: Mapping[str, Any], trainable: Collection[str]) -> Collection[str]:
    """Return the names of the weights that a checkpoint holds; of one in shards, those of the run that takes it."""
    return checkpoint[STATE_DICT].keys() if STATE_DICT in checkpoint else trainable
