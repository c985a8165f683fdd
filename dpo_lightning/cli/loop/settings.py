"""The config of the loop: what the rounds share, and a section for each command that they call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Optional, cast

import yaml  # type: ignore[import-untyped]

from dpo_lightning.cli.config_files import check_config
from dpo_lightning.errors import InputError
from dpo_lightning.utils.settings import at_least, require
from dpo_lightning.utils.text import nearest, one_line

SECTIONS = ("generate", "score", "pair")
"""Sections with options of the command of that name."""

_ALL = ("rounds", *SECTIONS, "fit")


class _Loader(yaml.SafeLoader):
    """Reads `1e-6` as a number, as the parser of `fit` does; YAML 1.1 would take it for a text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Loop:
    """Settings that all rounds share: the section `rounds`.

    Attributes:
        policy: Hub name or directory of the first policy.
        prompts: File of prompts, a row of JSON each.
        number: Rounds.
        out: Directory for everything that the rounds write.
        prompts_per_round: Prompts of a round, the next ones each time; None takes all of them in every round.
        reference: What a round's policy is compared with: the policy of the round before, or the first one.
        last: Sample from the last policy too, for the prompts of the first round, and score it.
        kl: Measure on the samples how far each policy is from the first one.
    """

    policy: str
    prompts: str
    number: int = 3
    out: str = "runs/rounds"
    prompts_per_round: Optional[int] = None
    reference: Literal["previous", "first"] = "previous"
    last: bool = True
    kl: bool = True

    def __post_init__(self) -> None:
        require(self, "rounds", number=at_least(1), prompts_per_round=at_least(1))


@dataclass(frozen=True)
class LoopConfig:
    """A config file of the loop.

    Attributes:
        loop: Its section `rounds`.
        options: Options of each command of `SECTIONS`, by its name.
        fit: The config of a fit.
    """

    loop: Loop
    options: Mapping[str, Mapping[str, Any]]
    fit: Mapping[str, Any]


def read_config(file: Path, out: str | None) -> LoopConfig:
    """Read a config file of the loop.

    Args:
        file: The file.
        out: Directory that takes the place of its own; None leaves it.

    Raises:
        InputError: for a file that cannot be read, a section or key that is none, and a value that is none.
    """
    sections = _read(file)
    for name in sections:
        if name not in _ALL:
            raise InputError(f"config {file}: {name}: no section of it{_meant(str(name), _ALL)}")
    given = _section(sections, "rounds", file)
    loop = _loop(given if out is None else {**given, "out": out}, file)
    options = {name: _section(sections, name, file) for name in SECTIONS}
    return LoopConfig(loop, options, _fit(sections, file))


def _read(file: Path) -> Mapping[str, Any]:
    try:
        check_config(file)
        return cast(Mapping[str, Any], yaml.load(file.read_text(encoding="utf-8-sig"), Loader=_Loader))
    except (OSError, yaml.YAMLError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"config {file}: {one_line(said, 200)}") from None


def _section(sections: Mapping[str, Any], name: str, file: Path) -> Mapping[str, Any]:
    found = sections.get(name) or {}
    if not isinstance(found, Mapping):
        raise InputError(f"config {file}: {name} must be a mapping of options, got {one_line(found, 80)}")
    return found


def _loop(given: Mapping[str, Any], file: Path) -> Loop:
    names = [field.name for field in fields(Loop)]
    for name in given:
        if name not in names:
            raise InputError(f"config {file}: rounds.{name}: no such key{_meant(str(name), names)}")
    for name, said in (("policy", "the model that the first round begins with"), ("prompts", "a file of prompts")):
        if not isinstance(given.get(name), str) or not given[name]:
            raise InputError(f"config {file}: rounds.{name}: give {said}, got {one_line(given.get(name), 80)}")
    return Loop(**given)


def _fit(sections: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    """Return the config of the fit, which may be in a file of its own."""
    found = sections.get("fit")
    if isinstance(found, str):
        return _read(Path(found))
    if not isinstance(found, Mapping):
        raise InputError(f"config {file}: fit: give a config of fit, or the path of one, got {one_line(found, 80)}")
    return found


def _meant(name: str, names: Any) -> str:
    close = nearest(name, names)
    return f"; did you mean `{close}`?" if close else f"; there are {', '.join(names)}"
