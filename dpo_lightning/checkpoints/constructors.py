"""The arguments that a module's constructor takes, and what is said of those that it does not."""

from __future__ import annotations

import copy
import inspect
from argparse import ArgumentError
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, get_args, get_origin, is_typeddict

from jsonargparse import ArgumentParser

from dpo_lightning.compat.jsonargparse import KEY, SCAFFOLD, SUBCLASS_HELP
from dpo_lightning.errors import InputError
from dpo_lightning.utils.kinds import annotations_of, members_of
from dpo_lightning.utils.text import nearest, one_line

_GROUP = "module"  # of Lightning's instantiator


@lru_cache(maxsize=256)
def arguments_of(kind: type) -> frozenset[str]:
    """Return the names that the constructor of a class takes, those that its `**kwargs` hands on included."""
    if kind is object:
        return frozenset()
    names = {
        name for name, each in _signature(kind).items() if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    }
    if takes_any(kind):
        parser = ArgumentParser(exit_on_error=False)
        added = parser.add_class_arguments(kind, _GROUP, skip={*names}, fail_untyped=False)
        handed_on = {name.removeprefix(f"{_GROUP}.").partition(".")[0] for name in added} - names
        names |= handed_on or arguments_of(kind.__mro__[1])  # without its source, the parser does not follow them
    return frozenset(names - {"self"})


def takes(kind: type, name: str) -> bool:
    """Return whether a class is constructed with an argument of a name.

    One that `**kwargs` takes counts, but not that of a base class which a subclass sets itself.
    """
    if name in arguments_of(kind):
        return True
    return takes_any(kind) and not is_set_inside(kind, name) and not name.startswith("_")


def is_set_inside(kind: type, name: str) -> bool:
    """Return whether a class gives its base class an argument that it does not take itself."""
    return name not in arguments_of(kind) and any(name in _signature(each) for each in kind.__mro__)


def takes_any(kind: type) -> bool:
    """Return whether the constructor has `**kwargs`."""
    return any(each.kind is each.VAR_KEYWORD for each in _signature(kind).values())


def is_default(kind: type, name: str, value: Any) -> bool:
    """Return whether the constructor of a class puts this very object there by itself.

    The outermost signature that has the name decides: a base class's default is none of a subclass that has its own.
    """
    return default_of(kind, name) is value


def default_of(kind: type, name: str) -> Any:
    """Return the default of a constructor argument; `inspect.Parameter.empty` without one."""
    parameter = _outermost(kind, name)
    return inspect.Parameter.empty if parameter is None else parameter.default


def annotation_of(kind: type, name: str) -> Any:
    """Return the annotation of a constructor argument, from the outermost signature that has it; Any without one."""
    for each in kind.__mro__:
        if (parameter := _signature(each).get(name)) is not None:
            hint = annotations_of(each.__init__).get(name, parameter.annotation)  # type: ignore[misc]
            return Any if hint is inspect.Parameter.empty else hint
    return Any


def is_annotated(kind: type, name: str) -> bool:
    """Return whether a constructor argument has a type, without which the parser makes no callable of a config."""
    parameter = _outermost(kind, name)
    return parameter is None or parameter.annotation not in (parameter.empty, Any, "Any")


def _outermost(kind: type, name: str) -> inspect.Parameter | None:
    having = (signature for each in kind.__mro__ if name in (signature := _signature(each)))
    return next(having, {}).get(name)


def made_by_parser(kind: type, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constructor arguments that the parser makes of a config; others it does not see.

    Args:
        kind: The class that they construct.
        config: Arguments in config form.

    Raises:
        ArgumentError: where the parser does not accept one.
    """
    made: dict[str, Any] = {}
    for owner in dict.fromkeys(_owner(kind, name) for name in config):  # whose source the parser need not follow
        own = {name: value for name, value in config.items() if _owner(kind, name) is owner}
        others: set[Any] = {*arguments_of(owner)} - {*own}
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(owner, _GROUP, skip=others, instantiate=False, fail_untyped=False)
        found = vars(parser.instantiate(parser.parse_object({_GROUP: own}))[_GROUP])
        made |= {name: found[name] for name in own}
    return made


def _owner(kind: type, name: str) -> type:
    """Return the class whose constructor has an argument, the outermost one."""
    return next((each for each in kind.__mro__ if name in _signature(each)), kind)


def is_taken_as_it_is(kind: type, name: str, value: Any) -> bool:
    """Return whether a value is one that a constructor argument takes, and no config of one."""
    if isinstance(value, Mapping) and "class_path" in value:
        return False
    return any(_is_of(each, value) for each in members_of(annotation_of(kind, name)))


def _is_of(hint: Any, value: Any) -> bool:
    """Return whether a value is of an annotation; what is inside a container says only one of anything."""
    origin, inside = get_origin(hint) or hint, get_args(hint)
    if hint in (Any, object):
        return True
    is_known = not is_typeddict(hint) and (not inside or origin is Callable or Any in inside)
    return is_known and isinstance(origin, type) and isinstance(value, origin)


def reads_back(kind: type, name: str, plain: Any, is_same: Callable[[Any], bool]) -> bool:
    """Return whether the parser makes of an argument's plain form what `is_same` says is the argument."""
    try:
        return is_same(made_by_parser(kind, {name: copy.deepcopy(plain)})[name])  # it changes lists in place
    except Exception:  # classes of the user's raise anything
        return False


def refuse_unknown(kind: type, given: Iterable[str]) -> None:
    """Refuse what Lightning would leave out without a word.

    Raises:
        InputError: for a name that the constructor does not take, unless it has `**kwargs`.
    """
    unknown = [] if takes_any(kind) else [name for name in given if name not in arguments_of(kind)]
    for name in unknown:
        names = sorted(arguments_of(kind))
        close = nearest(name, names)
        remedy = f"did you mean {close}?" if close else f"it takes {', '.join(names) or 'none'}"
        raise InputError(f"load_from_checkpoint(..., {name}=): {kind.__name__} has no argument {name}: {remedy}")


def not_accepted(error: ArgumentError, owner: type, checkpoint: str, given: Mapping[str, Any]) -> InputError:
    """Return the parser's refusal of a constructor argument as one line.

    Args:
        error: What the parser says, in several lines.
        owner: The class that is built.
        checkpoint: What the message calls the checkpoint.
        given: The arguments that `load_from_checkpoint` was given; others are the checkpoint's.
    """
    found = KEY.search(str(error))
    if found is None:
        remedy = f"let {owner.__name__}.__init__ name its arguments in place of **kwargs"
        return InputError(f"checkpoint {checkpoint}: {one_line(error, 200)}: {remedy}")
    key = found["key"].removeprefix(f"{_GROUP}.")
    name = key.partition(".")[0]
    if isinstance(value := given.get(name), type):
        return InputError(f"load_from_checkpoint(..., {name}={value.__name__}) is a class: give {value.__name__}(...)")
    reason = _reason(str(error)[found.start("rest") :])
    if name in given:
        remedy = f"give what {owner.__name__}({name}=...) takes"
        return InputError(f"load_from_checkpoint(..., {name}={one_line(repr(value), 60)}): {reason}: {remedy}")
    return InputError(f"checkpoint {checkpoint}: its {key}: {reason}: load_from_checkpoint(..., {name}=another)")


def _reason(text: str) -> str:
    lines = [line.strip().removeprefix("- ") for line in text.splitlines()]
    told = [line for line in lines if line and not SCAFFOLD.match(line) and not SUBCLASS_HELP.match(line)]
    told = [line for line in dict.fromkeys(told) if not line.startswith("Does not validate")] or told
    return one_line(" ".join(told), 200)


def _signature(kind: type) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(kind.__init__).parameters  # type: ignore[misc]
