"""Scores by a function of the user's, or a scorer class of theirs."""

from __future__ import annotations

import inspect
import sys
from argparse import Namespace
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.scorers.base import NoScoreError, Scorer
from dpo_lightning.utils.files import content_of
from dpo_lightning.utils.text import nearest, one_line

_ROW = "row"


class FunctionScorer(Scorer):
    """Scores by `f(prompt, completion) -> float`; the prompt is as in the row, a text or messages.

    One with an argument `row` is given the other columns of the row by that name, such as the right answer.

    Args:
        function: The function.
        made: What decides on its values.
    """

    at_once: ClassVar[int] = 1

    def __init__(self, function: Callable[..., float], made: Mapping[str, Any]) -> None:
        self._function, self._made = function, made
        self._reads_row = _ROW in _parameters(function)

    @property
    def made(self) -> Mapping[str, Any]:
        """The path of the function, and the content of its file."""
        return self._made

    def score(self, rows: Sequence[Candidates]) -> list[list[float]]:
        """Call the function for each completion.

        Raises:
            NoScoreError: for an error inside it, naming its line, and for what is no number.
        """
        return [
            [self._value(row, text, number, place) for place, text in enumerate(row.completions)]
            for number, row in enumerate(rows)
        ]

    def _value(self, given: Candidates, text: str, row: int, completion: int) -> float:
        beside = {_ROW: dict(given.beside)} if self._reads_row else {}
        try:
            value = self._function(given.prompt, text, **beside)
        except Exception as error:  # anything: it is the user's
            said = f"the function failed: {type(error).__name__}: {one_line(error, 160)}{_line_of(error)}"
            raise NoScoreError(said, row, completion) from error
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            raise NoScoreError(f"the function returned {one_line(repr(value), 80)}, and no number", row, completion)
        try:
            return float(value)
        except (TypeError, ValueError) as error:  # an array of several
            said = f"the function returned {one_line(repr(value), 80)}, and no number"
            raise NoScoreError(said, row, completion) from error


def scorer(options: Namespace, command: str) -> Scorer:
    """Load what `--function` names.

    Raises:
        InputError: for a path that leads nowhere, and what is neither a function nor a class of `Scorer`.
    """
    place = f"{command} --function {options.function}"
    found, source = _found(options.function, place)
    made = {"function": options.function, "source": None if source is None else content_of(source)}
    if inspect.isclass(found) and issubclass(found, Scorer):
        return _made_by(found, place)
    if inspect.isclass(found) or not callable(found):
        raise InputError(f"{place}: a {type(found).__name__}: name a function of a prompt and a completion")
    beside: dict[str, Any] = {_ROW: {}} if _ROW in _parameters(found) else {}
    try:
        inspect.signature(found).bind("prompt", "completion", **beside)
    except TypeError as error:
        raise InputError(f"{place}: it is called with a prompt and a completion: {one_line(error, 160)}") from None
    except ValueError:  # built in, without a signature
        pass
    return FunctionScorer(found, made)


def _parameters(function: Callable[..., Any]) -> Collection[str]:
    try:
        return inspect.signature(function).parameters
    except ValueError:  # built in, without a signature
        return ()


def _made_by(kind: type[Scorer], place: str) -> Scorer:
    try:
        return kind()
    except Exception as error:  # anything: it is the user's
        raise InputError(
            f"{place}: it is made without arguments: {type(error).__name__}: {one_line(error, 160)}"
        ) from error


def _found(path: str, place: str) -> tuple[Any, str | None]:
    """Return what a path names, and the file that it is in."""
    head, colon, name = path.rpartition(":") if ".py:" in path else path.rpartition(".")
    if path.endswith(".py"):
        raise InputError(f"{place}: a file alone: name the function in it, as {path}:NAME")
    if not (head and name.isidentifier()):
        raise InputError(f"{place}: no path: write package.module.name, or FILE.py:NAME")
    module = _of_file(Path(head), place) if colon == ":" else _imported(head, place)
    names = [each for each in vars(module) if not each.startswith("_")]
    if not hasattr(module, name):
        close = nearest(name, names)
        raise InputError(f"{place}: no {name} in {head}" + (f"; did you mean `{close}`?" if close else ""))
    return getattr(module, name), getattr(module, "__file__", None)


def _imported(name: str, place: str) -> ModuleType:
    try:
        return import_module(name)
    except Exception as error:  # anything that stands at its top level
        raise InputError(
            f"{place}: it cannot be imported: {type(error).__name__}: {one_line(error, 160)}{_line_of(error)}; "
            "a file anywhere is named as FILE.py:NAME"
        ) from error


def _of_file(file: Path, place: str) -> ModuleType:
    if not file.is_file():
        raise InputError(f"{place}: there is no file {file}")
    spec = spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.path.insert(0, str(file.parent.resolve()))  # as Python does for a script: modules beside it are found
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # anything that stands at its top level
        raise InputError(f"{place}: {type(error).__name__}: {one_line(error, 160)}{_line_of(error)}") from error
    finally:
        sys.path.pop(0)
    return module


def _line_of(error: BaseException) -> str:
    """Return the place of the user's that an error comes from."""
    trace = error.__traceback__
    places = []
    while trace is not None:
        places.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    ours = [each for each in places if each[0] != __file__ and not each[0].startswith("<")]
    return f" ({Path(ours[-1][0]).name}, line {ours[-1][1]})" if ours else ""
