"""A checkpoint in a place where the policy's directory is not."""

from __future__ import annotations

import csv
import json
from argparse import ArgumentError
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from lightning.pytorch.core.saving import load_hparams_from_tags_csv, load_hparams_from_yaml
from torch import nn

from dpo_lightning.checkpoints.constructors import (
    arguments_of,
    is_taken_as_it_is,
    made_by_parser,
    not_accepted,
    refuse_unknown,
    takes,
    takes_any,
)
from dpo_lightning.checkpoints.contents import (
    GIVEN_REFERENCE,
    HYPER_PARAMETERS,
    MODEL_CONFIG,
    MOVED_REFERENCE,
    NOT_HELD,
    STATE_DICT,
    WHOLE,
    refuse_newer,
)
from dpo_lightning.checkpoints.held_arguments import restored_arguments
from dpo_lightning.checkpoints.hyperparameters import LostOptimizer, logged_hyperparameters
from dpo_lightning.checkpoints.io import load_plain, local_copy
from dpo_lightning.checkpoints.plain_form import public_path
from dpo_lightning.checkpoints.trust import refuse_code_settings, saved_arguments, trusted_arguments
from dpo_lightning.checkpoints.whole_form import opened
from dpo_lightning.compat.lightning_checkpoints import CLASS_KEY, INSTANTIATOR_KEY
from dpo_lightning.errors import InputError
from dpo_lightning.policy.loading import load_config, untrained_model
from dpo_lightning.reference import FrozenModule, LostReference
from dpo_lightning.utils.text import one_line

_PREFIX = "policy."


@contextmanager
def loading(
    owner: type, path: Any, weights_only: bool | None, hparams_file: Any, given: Mapping[str, Any]
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Make a checkpoint ready for Lightning's `load_from_checkpoint`, also where the policy's directory is gone.

    Args:
        owner: The class that is built.
        path: A file, a URL, or an open file.
        weights_only: False allows any object in a local file, and with it the code that it brings.
        hparams_file: YAML or CSV in place of the saved constructor arguments.
        given: Constructor arguments that replace the saved ones.

    Yields:
        What Lightning is to load, and the constructor arguments to load it with.

    Raises:
        InputError: for a damaged file, where the checkpoint needs a model that is not there, where its settings ask for
            code that the caller has not asked for, and for an argument that the constructor does not take, also while
            Lightning loads.
    """
    refuse_unknown(owner, given)
    with local_copy(path, weights_only) as local:
        saved = _read(path if local is None else local, str(path), weights_only)
        if hparams_file is not None:
            saved = _with_arguments(saved, _arguments_in(hparams_file), owner)
        whole = _whole_arguments(owner, saved, str(path), given)
        _, replaced = trusted_arguments(owner, saved, str(path), {**whole, **given})
        arguments = {**replaced, **whole, **given}
        arguments.update(arguments_not_held(owner, saved, str(path), arguments))
        arguments.update(arguments_in_place(owner, saved, str(path), arguments))
        try:
            yield path if local is None else local, _past_parser(owner, saved, str(path), arguments, whole)
        except ArgumentError as error:
            raise not_accepted(error, owner, str(path), given) from error


def _read(source: Any, name: str, weights_only: bool | None) -> dict[str, Any]:
    """Read a checkpoint for its settings; a tensor of a local file is read when it is used."""
    if isinstance(source, str | Path):
        if weights_only is not False:
            return _checked(load_plain(Path(source), name, mmap=True), name)
        saved = torch.load(source, map_location="cpu", weights_only=False, mmap=True)
    else:
        start = source.tell()
        saved = torch.load(source, map_location="cpu", weights_only=weights_only is not False)
        source.seek(start)
    refuse_newer(saved, name)
    return _checked(saved, name)


def _with_arguments(saved: Mapping[str, Any], arguments: dict[str, Any], owner: type) -> dict[str, Any]:
    """Put other arguments in the place of a checkpoint's; whole forms stay where the others say the same."""
    before = logged_hyperparameters(saved.get(HYPER_PARAMETERS, {}), owner)
    same = {key: form for key, form in saved.get(WHOLE, {}).items() if arguments.get(key) == before.get(key)}
    return {**saved, HYPER_PARAMETERS: arguments, WHOLE: same}


def _checked(saved: Any, name: str) -> dict[str, Any]:
    if not isinstance(saved, dict) or STATE_DICT not in saved:
        raise InputError(f"checkpoint {name} has no {STATE_DICT}: give a file that a Trainer has saved")
    return saved


def _whole_arguments(owner: type, saved: Mapping[str, Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that are more than their plain form says, but for those given; code counts as elsewhere."""
    wanted = {key: form for key, form in saved.get(WHOLE, {}).items() if key not in given}
    whole = restored_arguments(owner, wanted, f"checkpoint {name}")
    remedy = "load_from_checkpoint(..., {argument}=...)"
    refuse_code_settings({key: opened(value) for key, value in whole.items()}, {}, f"checkpoint {name}", remedy)
    return whole


def _past_parser(
    owner: type, saved: Mapping[str, Any], name: str, arguments: Mapping[str, Any], whole: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all arguments as objects; the parser makes those that are in config form.

    Of others it may make something else: of a text what YAML reads in it, of a counter an empty one. And of a default.
    """
    config = saved_arguments(saved, owner, name)
    direct = {key: value for key, value in arguments.items() if key in whole or is_taken_as_it_is(owner, key, value)}
    if not _is_of_this_class(owner, config.pop(CLASS_KEY, None)):
        return dict(arguments)
    rest = {key: value for key, value in {**config, **arguments}.items() if key not in direct}
    known = {key: value for key, value in rest.items() if key in arguments_of(owner)}
    others = {key: value for key, value in rest.items() if key not in known and takes(owner, key)}
    return {**made_by_parser(owner, known), **others, **direct, INSTANTIATOR_KEY: None}


def _is_of_this_class(owner: type, path: str | None) -> bool:
    """Tell whether Lightning builds this very class; to `**kwargs` it would hand the path, and its parser does not."""
    own = (public_path(owner), f"{owner.__module__}.{owner.__qualname__}")
    return path is None or (path in own and not takes_any(owner))


def _arguments_in(hparams_file: Any) -> dict[str, Any]:
    if not Path(hparams_file).is_file():  # Lightning would take every default
        raise InputError(
            f"hparams_file {hparams_file}: no such file: give the hparams.yaml of the run, or leave it out"
        )
    read = load_hparams_from_tags_csv if str(hparams_file).lower().endswith(".csv") else load_hparams_from_yaml
    try:
        arguments = read(hparams_file)
    except (yaml.YAMLError, OSError, UnicodeError, csv.Error, KeyError, SyntaxError) as error:
        raise InputError(
            f"hparams_file {hparams_file}: {one_line(error, 200)}: give the hparams.yaml of the run, or leave it out"
        ) from error
    if not isinstance(arguments, Mapping):
        raise InputError(f"hparams_file {hparams_file} holds no arguments: give the hparams.yaml of the run")
    if (found := next(_called(arguments), None)) is not None:  # YAML's tag for a name of Python's
        raise InputError(
            f"hparams_file {hparams_file} names {one_line(repr(found), 80)}, which would be called: write plain values"
        )
    return dict(arguments)


def _called(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping | list | tuple | set):
        for item in [*value, *(value.values() if isinstance(value, Mapping) else ())]:
            yield from _called(item)
    elif callable(value):
        yield value


def arguments_not_held(owner: type, saved: Mapping[str, Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Stand in for an optimizer that the checkpoint does not hold, and is not given: it is asked for in training only.

    Args:
        owner: The class that is built.
        saved: The checkpoint.
        name: What an error calls it.
        given: The arguments that `load_from_checkpoint` has.

    Raises:
        InputError: for another argument that the checkpoint does not hold, and is not given.
    """
    there = {*given, *saved.get(HYPER_PARAMETERS, {})}
    not_held = saved.get(NOT_HELD, {}).items()
    missing = {key: kind for key, kind in not_held if key not in there and takes(owner, key)}
    optimizer = missing.pop("optimizer", None)
    for key, kind in missing.items():
        raise InputError(f"checkpoint {name} does not hold its {key}, a {kind}: load_from_checkpoint(..., {key}=it)")
    return {} if optimizer is None else {"optimizer": LostOptimizer(optimizer)}


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A Hugging Face config in the types of JSON, which a checkpoint can hold."""
    return json.loads(json.dumps(config))


def arguments_in_place(owner: type, saved: Mapping[str, Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments that stand in for a policy that is not there: a model of the checkpoint's own config.

    Its weights are to come from the checkpoint. The reference, which the policy was before training, is lost, unless it
    has weights of its own, or moved, so that the checkpoint holds it. Where the policy is there, nothing is changed,
    nor where the class has no argument `policy`: it makes the policy from what it has.

    Args:
        owner: The class that is built.
        saved: The checkpoint.
        name: What an error calls it.
        given: The arguments that `load_from_checkpoint` was given.

    Raises:
        InputError: when the checkpoint does not hold the whole model, or was written by a run whose policy was a
            module and none is given.
    """
    if "policy" not in arguments_of(owner):
        return {}
    settings = {**saved.get(HYPER_PARAMETERS, {}), **given}
    policy, model_kwargs = settings.get("policy"), settings.get("model_kwargs")
    if policy is None:
        raise InputError(f"checkpoint {name}: its policy was a module: load_from_checkpoint(..., policy=module)")
    if isinstance(policy, nn.Module):
        return {}
    if not isinstance(policy, str):
        raise InputError(
            f"checkpoint {name}: its policy is {one_line(repr(policy), 80)}, no name of a model: "
            "load_from_checkpoint(..., policy=its place)"
        )
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
        if lost and "reference" not in arguments_of(owner):
            raise InputError(
                f"checkpoint {name}: {owner.__name__} has no argument `reference`, and would make one of the policy "
                f"before training, which is not there ({error}): load_from_checkpoint(..., policy=its place)"
            ) from error
        in_place = {"policy": model, "model_kwargs": None, **lost}
        return {key: value for key, value in in_place.items() if key in arguments_of(owner)}
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
