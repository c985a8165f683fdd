"""Settings of a run that goes on: those of the checkpoint, or others where the user says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, cast, get_args

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info
from torch import Size, Tensor

from dpo_lightning.checkpoints.contents import HYPER_PARAMETERS, LR_SCHEDULERS, NOT_HELD, OPTIMIZER_STATES
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

SettingsMode: TypeAlias = Literal["exact", "changed"]

RESUME = "resume"

# What these are decides no number of a run, or is compared elsewhere: base and reference by their weights, adapters by
# what PEFT makes of them, the optimizer by its groups.
COMPARED_ELSEWHERE = {"policy", "model_kwargs", "quantization_config", "reference", "optimizer"}
_MAY_CHANGE = {"gradient_checkpointing", "step_zero_check", RESUME}


class Difference(NamedTuple):
    """A setting of a checkpoint, and that of the run that takes it."""

    name: str
    before: Any
    now: Any


def told(difference: Difference) -> str:
    """Return a difference in words."""
    before, now = (one_line(value, 80) for value in (difference.before, difference.now))
    return f"{difference.name} {before}, and this run asks for {now}"


def checked_mode(mode: str) -> SettingsMode:
    """Return how a run goes on.

    Raises:
        InputError: for another word than the two.
    """
    if mode not in get_args(SettingsMode):
        raise InputError(f"resume is one of {', '.join(get_args(SettingsMode))}, got {one_line(repr(mode), 80)}")
    return cast(SettingsMode, mode)


def refuse_or_tell(found: Iterable[Difference], mode: str) -> None:
    """Refuse settings that differ, or say each where they are to be applied.

    Raises:
        InputError: naming all of them, unless the mode is `changed`.
    """
    found = list(found)
    if not found:
        return
    if mode != "changed":
        raise InputError(
            f"the checkpoint's run had {'; '.join(told(each) for each in found)}: give the settings of that run, or go "
            "on with the new ones with model.resume=changed"
        )
    for name, before, now in found:
        rank_zero_info(f"model.resume=changed: {name} is {one_line(now, 80)}, was {one_line(before, 80)}")


def differing_arguments(
    checkpoint: Mapping[str, Any], held: Mapping[str, Any], not_held: Mapping[str, str]
) -> list[Difference]:
    """Return the arguments of a module that are not those of a checkpoint, by name.

    Args:
        checkpoint: The saved one.
        held: The module's arguments in plain form.
        not_held: Those without one, by name with the class of each.
    """
    before, lost = checkpoint.get(HYPER_PARAMETERS, {}), checkpoint.get(NOT_HELD, {})
    names = [n for n in before if n in held and not n.startswith("_") and n not in COMPARED_ELSEWHERE | _MAY_CHANGE]
    found = [each for name in names for each in differences(name, before[name], held[name])]
    unlike = {**{n: _named(before[n]) for n in before}, **lost}, {**{n: _named(held[n]) for n in held}, **not_held}
    either = [name for name in {**lost, **not_held} if name not in COMPARED_ELSEWHERE]
    found += [
        Difference(name, unlike[0][name], unlike[1][name])
        for name in either
        if name in unlike[0] and name in unlike[1] and unlike[0][name] != unlike[1][name]
    ]
    # The rest of an adapter's settings is compared as PEFT has it.
    return [each for each in found if each.name.partition(".")[0] != "lora" or each.name == "lora.dropout"]


def differences(name: str, before: Any, now: Any, *, strict: bool = False) -> list[Difference]:
    """Return where two settings in plain form differ.

    Args:
        name: Name of the setting, which the names of those inside it follow after a dot.
        before: The checkpoint's.
        now: The run's.
        strict: Whether a setting counts that only one of them has: another version may have other fields.
    """
    return list(_differences(name, before, now, strict))


def _differences(name: str, before: Any, now: Any, strict: bool) -> Iterator[Difference]:
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        if not _same(before, now):
            yield Difference(name, _named(before), _named(now))
        return
    if "class_path" in before and "class_path" in now:
        if _named(before) != _named(now):
            yield Difference(name, _named(before), _named(now))
            return
        before, now = before.get("init_args") or {}, now.get("init_args") or {}
    both = before.keys() & now.keys()
    for key in [*before, *(key for key in now if key not in before)]:
        if strict or key in both:
            place = f"{name}.{key}" if name else str(key)
            yield from _differences(place, before.get(key), now.get(key), strict)


def _same(before: Any, now: Any) -> bool:
    if isinstance(before, list | tuple) and isinstance(now, list | tuple):
        return len(before) == len(now) and all(map(_same, before, now))
    return bool(before == now)


def _named(value: Any) -> Any:
    """Return the name of the class that a setting chooses; any other value as it is."""
    path = value.get("class_path") if isinstance(value, Mapping) else None
    return str(path).rpartition(".")[2] if path else value


def refuse_without_training_state(checkpoint: Mapping[str, Any], trainer: pl.Trainer) -> None:
    """Refuse to train on from a checkpoint that was saved without optimizer and schedule.

    Raises:
        InputError: saying what to do instead.
    """
    needed = [LR_SCHEDULERS, *([OPTIMIZER_STATES] if trainer.strategy.lightning_restore_optimizer else [])]
    if missing := [key for key in needed if key not in checkpoint]:
        raise InputError(
            f"the checkpoint holds weights only, and no {' and no '.join(missing)}, so a run cannot go on from it: "
            "take one that was saved without save_weights_only, or export it, and begin a run from that directory"
        )


def refuse_other_shapes(saved: Mapping[str, Size], parameters: Mapping[str, Tensor]) -> None:
    """Refuse trained weights that are no weights of this run's, which torch would say in many lines.

    Args:
        saved: Shapes in the checkpoint, by name.
        parameters: Those of the run.

    Raises:
        InputError: naming the first one, with both shapes.
    """
    for name, shape in saved.items():
        if name in parameters and shape != parameters[name].shape:
            raise InputError(
                f"the checkpoint's {name} has the shape {list(shape)}, and this run's "
                f"{list(parameters[name].shape)}: give the policy and the `lora` of that run"
            )
