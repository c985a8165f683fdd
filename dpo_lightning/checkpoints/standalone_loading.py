"""A checkpoint in a place where the policy's directory is not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from torch import nn

from dpo_lightning.checkpoints.contents import (
    GIVEN_REFERENCE,
    HYPER_PARAMETERS,
    MODEL_CONFIG,
    MOVED_REFERENCE,
    NOT_HELD,
    STATE_DICT,
)
from dpo_lightning.checkpoints.io import load_plain, local_copy
from dpo_lightning.errors import InputError
from dpo_lightning.policy.loading import load_config, untrained_model
from dpo_lightning.reference import FrozenModule, LostReference

_PREFIX = "policy."


@contextmanager
def loading(path: Any, weights_only: bool | None, given: Mapping[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Make a checkpoint ready for Lightning's `load_from_checkpoint`, also where the policy's directory is gone.

    Args:
        path: A file or a URL.
        weights_only: False allows any object in a local file, and with it the code that it brings.
        given: Constructor arguments that replace the saved ones.

    Yields:
        What Lightning is to load, and the constructor arguments to load it with.

    Raises:
        InputError: for a damaged file, and where the checkpoint needs a model that is not there.
    """
    with local_copy(path, weights_only) as local:
        arguments = dict(given)
        if local is not None and weights_only is not False:
            saved = load_plain(local, str(path), mmap=True)
            arguments.update(arguments_in_place(saved, str(path), given))
            arguments.update(arguments_not_held(saved, str(path), arguments))
        yield path if local is None else local, arguments


def arguments_not_held(saved: Mapping[str, Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Stand in for an optimizer that the checkpoint does not hold, and is not given: it is asked for in training only.

    Args:
        saved: The checkpoint.
        name: What an error calls it.
        given: The arguments that `load_from_checkpoint` has.

    Raises:
        InputError: for another argument that the checkpoint does not hold, and is not given.
    """
    missing = {key: kind for key, kind in saved.get(NOT_HELD, {}).items() if key not in given}
    in_place = {"optimizer": lost_optimizer} if missing.pop("optimizer", None) else {}
    for key, kind in missing.items():
        raise InputError(f"checkpoint {name} does not hold its {key}, a {kind}: load_from_checkpoint(..., {key}=it)")
    return in_place


def lost_optimizer(parameters: Any) -> NoReturn:
    """Refuse to train with an optimizer that is not the run's.

    Raises:
        InputError: saying what to give.
    """
    raise InputError(
        "the checkpoint that the module was loaded from could not hold its optimizer, a function: "
        "load_from_checkpoint(..., optimizer=it); functools.partial(AdamW, lr=...) would be held"
    )


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A Hugging Face config in the types of JSON, which a checkpoint can hold."""
    return json.loads(json.dumps(config))


def arguments_in_place(saved: Mapping[str, Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments that stand in for a policy that is not there: a model of the checkpoint's own config.

    Its weights are to come from the checkpoint. The reference, which the policy was before training, is lost, unless it
    has weights of its own, or moved, so that the checkpoint holds it. Where the policy is there, nothing is changed.

    Args:
        saved: The checkpoint.
        name: What an error calls it.
        given: The arguments that `load_from_checkpoint` was given.

    Raises:
        InputError: when the checkpoint does not hold the whole model, or was written by a run whose policy was a
            module and none is given.
    """
    settings = {**saved.get(HYPER_PARAMETERS, {}), **given}
    policy, model_kwargs = settings.get("policy"), settings.get("model_kwargs")
    if policy is None:
        raise InputError(f"checkpoint {name}: its policy was a module: load_from_checkpoint(..., policy=module)")
    if isinstance(policy, nn.Module):
        return {}
    try:
        load_config(policy, model_kwargs)
    except InputError as error:
        if MODEL_CONFIG not in saved:
            raise InputError(
                f"checkpoint {name} holds an adapter, and the model under it is not there ({error}): "
                "load_from_checkpoint(..., policy=its place)"
            ) from error
        model = untrained_model(saved[MODEL_CONFIG], model_kwargs)
        _check_whole(name, model, saved[STATE_DICT])
        kept = MOVED_REFERENCE in saved or GIVEN_REFERENCE in saved
        lost = {} if kept else _lost_reference(settings.get("reference"))
        return {"policy": model, "model_kwargs": None, **lost}
    return {}


def _lost_reference(reference: Any) -> dict[str, Any]:
    if isinstance(reference, nn.Module | FrozenModule):
        return {}
    settings = reference.get("init_args", {}) if isinstance(reference, Mapping) else vars(reference or object)
    return {} if settings.get("checkpoint") else {"reference": LostReference()}


def _check_whole(name: str, model: nn.Module, state: Mapping[str, Any]) -> None:
    """Every parameter and persistent buffer; what is tied is saved once."""
    tied = dict(model.named_parameters(remove_duplicate=False)).keys() - dict(model.named_parameters()).keys()
    missing = [key for key in model.state_dict() if key not in tied and _PREFIX + key not in state]
    if missing:
        raise InputError(
            f"checkpoint {name} lacks {len(missing)} of the model's weights ({', '.join(missing[:3])}), and the model "
            "that they come from is not there: load_from_checkpoint(..., policy=its place)"
        )
