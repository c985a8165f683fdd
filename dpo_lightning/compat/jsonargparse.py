"""jsonargparse's parser: its keys, and the English of its errors."""

from __future__ import annotations

import inspect
import pydoc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser, _typehints

# An error explains a nested value from the outside in: which key, which class, and at the end what is wrong. The
# exceptions behind it have no fields. Where the words change, an error is longer than a line.
KEY = re.compile(r'Parser key "(?P<key>[^"]+)":\s*(?P<rest>.*)')
HELP = re.compile(r"--(?P<key>[\w.]+)\.help: (?P<rest>.*)")
CLASS = re.compile(r"Problem with given class_path '(?P<path>[^']+)'")
CALLABLE = re.compile(
    r"Type (?:typing|collections\.abc)\.Callable\[.*\] expects a function or a callable class: (?P<rest>.*)"
)
COMMAND = re.compile(r"argument subcommand: invalid choice: '(?P<name>[^']*)'|expected \"subcommand\" to be one of")
MADE = re.compile(r"Got value: Namespace\(class_path='(?P<path>[^']+)'")
WEAK = re.compile(r"Not a valid subclass of|Expected a <class 'list'>")
UNKNOWN_OPTION = re.compile(r"Option '(?P<name>[^']+)' is not accepted")
UNKNOWN_KEY = re.compile(r"(?:does not accept option '|[Uu]nrecognized arguments: (?:--)?)(?P<name>[\w.+-]+)")
UNKNOWN_CLASS = re.compile(r"(?:Expected a dot import path string|Unexpected import path format):\s*(?P<name>\S*)")
WRONG_CLASS = re.compile(r"Import path (?P<name>\S+) does not correspond to a subclass")
MISFIT = re.compile(
    r"Subclasses are disabled for \w+, thus '(?P<other>[^']+)'|Expected '(?P<made>[^']+)' to be a subclass of"
    r"|Expected an instantiatable class, but (?P<abstract>\S+) is abstract"
)
WRONG_KIND = re.compile(
    r"Expected a <class '|Expected a typing\.|Not of type |Not a valid subclass of"
    r"|Expected an import path or a subclass"
)
REQUIRED = re.compile(r"the following arguments are required: (?P<names>.+)")
GIVEN = re.compile(r"(?P<indent>\s*)Given value: (?P<value>.*)")
GOT_MADE = re.compile(r"\. Got value: Namespace\(.*")
GOT = re.compile(r"\.+ Got value: (?P<value>.*)")
SCAFFOLD = re.compile(
    r"(Does not validate|Subtypes:|Errors:|Given value|Expected a <class 'NoneType'>|Expected a path"
    r"|.* either not accessible or invalid$)"
)
SUBCLASS_HELP = re.compile(r"(Subclass types expect one of|a class path \(str\)|a dict with)")


@contextmanager
def defaults_of_their_own() -> Iterator[None]:
    """Parse so that a class in the place of another one has its own defaults, and not those of the other.

    Touches `jsonargparse._typehints.discard_init_args_on_class_path_change`, which keeps what the new class accepts,
    defaults included: a `Cosine` in the place of `Constant()` would have no warm-up, a `SimPO` the beta of `DPO()`.
    Settings that were given stay, as far as the new class has them. Where it changes, that comes back.
    """
    original = _typehints.discard_init_args_on_class_path_change

    def discard(parser: Any, before: Any, value: Any) -> None:
        if before and "init_args" in before and before["class_path"] != value["class_path"]:
            kind, given = pydoc.locate(before["class_path"]), before["init_args"]
            for name, each in inspect.signature(kind).parameters.items() if callable(kind) else ():
                if name in given and given[name] == each.default:
                    given.pop(name)
        original(parser, before, value)

    _typehints.discard_init_args_on_class_path_change = discard
    try:
        yield
    finally:
        _typehints.discard_init_args_on_class_path_change = original


@contextmanager
def booleans_as_written() -> Iterator[None]:
    """Parse so that a text is a bool only where it is `true` or `false`.

    Touches `jsonargparse._typehints.basic_json_or_yaml_load`, which reads texts as YAML 1.1 does: `yes`, `on` and `y`
    would be true, `no` and `off` false. Where it changes, that comes back.
    """
    original = _typehints.basic_json_or_yaml_load

    def load(text: str) -> Any:
        value = original(text)
        return text if isinstance(value, bool) and text.strip().lower() not in ("true", "false") else value

    _typehints.basic_json_or_yaml_load = load
    try:
        yield
    finally:
        _typehints.basic_json_or_yaml_load = original


def option_names(parser: ArgumentParser) -> list[str]:
    """Return every key that the parser accepts, without dashes.

    Touches `_option_string_actions`, argparse's dict of options: the public defaults lack those of classes. Where it
    changes, an error suggests no key.
    """
    return [option.removeprefix("--") for option in parser._option_string_actions]


class Argument(NamedTuple):
    """An argument of a parser.

    Attributes:
        name: Its key, such as `data.max_length`.
        hint: Annotation of its values.
        default: As the parser holds it: a class as a mapping or namespace of `class_path` and `init_args`.
        required: Whether it must be given.
        text: Its help.
    """

    name: str
    hint: Any
    default: Any
    required: bool
    text: str


def typed_arguments(parser: ArgumentParser) -> Iterator[Argument]:
    """Yield the arguments of a parser that have a type: none that prints help, or reads a config.

    Touches `_actions`, and of an action `_typehint`: nothing public gives the annotations. Where these change, the help
    of the commands cannot be generated.
    """
    for action in parser._actions:
        hint = getattr(action, "_typehint", None)
        if hint is not None and not action.dest.endswith(".help"):
            yield Argument(action.dest, hint, action.default, action.required, action.help or "")


def class_made(maker: partial[Any]) -> type | None:
    """Return the class whose objects a `partial` makes with its keywords; None where it calls something else.

    jsonargparse makes of a callable's `class_path` a `partial` of a function of its own, with the class as the last
    argument, which is documented nowhere. Where it changes, a loaded module does not hold its optimizer's settings.
    """
    if isinstance(maker.func, type) and not maker.args:
        return maker.func
    is_parsers = str(maker.func.__module__).partition(".")[0] == "jsonargparse"  # None for a method of C
    return maker.args[-1] if is_parsers and maker.args and isinstance(maker.args[-1], type) else None
