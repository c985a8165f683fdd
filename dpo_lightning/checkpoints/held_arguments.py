"""The form in which a checkpoint holds an argument: the plain one where the parser makes the argument of it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

from dpo_lightning.checkpoints.constructors import (
    annotation_of,
    arguments_of,
    default_of,
    is_taken_as_it_is,
    reads_back,
    takes,
)
from dpo_lightning.checkpoints.plain_form import NoPlainForm, optimizer_settings, plain_form
from dpo_lightning.checkpoints.whole_form import classes_named, is_same, restored, shown, whole_form
from dpo_lightning.errors import InputError
from dpo_lightning.utils.kinds import annotations_of, members_of
from dpo_lightning.utils.secrets import is_secret, without_secrets
from dpo_lightning.utils.text import one_line

_PACKAGE = __name__.partition(".")[0]


class HeldForm(NamedTuple):
    """An argument, as a checkpoint has it.

    Attributes:
        plain: The form that people, loggers and configs have.
        whole: The form that it is made of again where the parser would make something else of the plain one, see
            `whole_form`; None elsewhere.
    """

    plain: Any
    whole: tuple[Any, ...] | None = None


def held_form(owner: type, name: str, value: Any) -> HeldForm:
    """Return the form of an argument, without the secrets in it.

    Args:
        owner: The class that the argument constructs.
        name: Name of the argument.
        value: The argument.

    Raises:
        NoPlainForm: for what a checkpoint cannot hold, and for what would come back as something else.
    """
    if value is not None and is_secret(name):
        raise NoPlainForm(type(value).__name__, whole="secret")
    try:
        plain = plain_form(value)
    except NoPlainForm as error:
        return _whole(owner, name, value, shown(value), error)
    if _is_read(owner, name, value, plain):
        return HeldForm(without_secrets(plain, name))
    if (optimizer := optimizer_settings(value)) is not None:  # the parser fills in those of the default
        plain = {**plain, "init_args": plain_form(optimizer[1])}
        if reads_back(owner, name, plain, lambda found: is_same(value, found)):
            return HeldForm(plain)
    kind = type(value).__name__
    lost = NoPlainForm(kind, whole=f"{kind}, which would come back as something else")
    return _whole(owner, name, value, plain, lost)


def _whole(owner: type, name: str, value: Any, plain: Any, lost: NoPlainForm) -> HeldForm:
    try:
        whole = whole_form(value)
        if is_same(value, restored(whole, known_classes(owner, name))) and is_same(plain, without_secrets(plain, name)):
            return HeldForm(plain, whole)
    except NoPlainForm as error:
        raise (error if error.whole else lost) from lost
    except InputError:
        pass
    raise lost


def known_classes(owner: type, name: str) -> set[type]:
    """Return the classes that a constructor's argument says it takes, by its annotation or its default."""
    return classes_named(annotation_of(owner, name)) | classes_named(type(default_of(owner, name)))


_READ: dict[tuple[Any, ...], bool] = {}


def _is_read(owner: type, name: str, value: Any, plain: Any) -> bool:
    """Tell whether the parser makes the argument of its plain form; what the constructor does not take it need not."""
    if name not in arguments_of(owner):  # of one in `**kwargs` it knows nothing
        return not takes(owner, name) or is_same(value, plain)
    if isinstance(value, Mapping) and not is_taken_as_it_is(owner, name, value):  # a config, from the command
        return True
    if _is_surely_read(value, annotation_of(owner, name)):
        return True
    key = (owner, name, repr(value), repr(plain))  # the parser takes 10 ms
    if key not in _READ:
        _READ[key] = reads_back(owner, name, plain, lambda found: is_same(value, found))
    return _READ[key]


def _is_surely_read(value: Any, hint: Any) -> bool:
    kind, takes = type(value), [each for each in members_of(hint) if each is not type(None)]
    if kind in (type(None), bool, int, float):
        return True
    if kind is str:
        return bool(takes) and takes[0] in (str, Any, object) and _is_no_yaml(value)
    is_own = is_dataclass(kind) and kind.__module__.partition(".")[0] == _PACKAGE
    if not is_own or not any(isinstance(each, type) and issubclass(kind, each) for each in takes):
        return False
    hints = annotations_of(kind)
    return all(_is_surely_read(getattr(value, field.name), hints.get(field.name, Any)) for field in fields(kind))


@cache
def _is_no_yaml(text: str) -> bool:
    """Tell whether YAML, in which the parser reads texts, has a text as itself."""
    try:
        return bool(yaml.safe_load(text) == text)
    except yaml.YAMLError:
        return "class_path" not in text


def restored_arguments(owner: type, whole: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the arguments of which a checkpoint has the whole form.

    Args:
        owner: The class that they construct.
        whole: Whole forms by name.
        place: What an error calls the checkpoint.

    Raises:
        InputError: for a class that neither the constructor names nor the program has imported.
    """
    found = {}
    for name in [each for each in whole if takes(owner, each)]:
        try:
            found[name] = restored(whole[name], known_classes(owner, name))
        except InputError as error:
            remedy = f"load_from_checkpoint(..., {name}=it)"
            raise InputError(f"{place}: its {name}: {one_line(error, 200)} {remedy}") from error
    return found
