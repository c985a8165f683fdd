"""Reads the keys of the command from its parser."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from jsonargparse import ArgumentParser
from torch import optim

import dpo_lightning
from dpo_lightning import PreferenceDataModule, PreferenceModule
from dpo_lightning.cli.class_names import classes_of, fitting_names
from dpo_lightning.cli.data_of_config import DataCLI
from dpo_lightning.cli.keys import REQUIRED, Key
from dpo_lightning.cli.trainer import run_trainer
from dpo_lightning.compat.jsonargparse import Argument, typed_arguments
from dpo_lightning.compat.lightning_cli import parser_of_command
from dpo_lightning.utils.kinds import in_words

_SECTIONS = {"model": PreferenceModule, "data": PreferenceDataModule}
_ROLE = re.compile(r":\w+:`~?([^`]*)`")
_LONGEST = 200  # characters of a sentence


def read_keys() -> Iterator[Key]:
    """Yield every key of `fit`: those of the process, of model and data, and of the Trainer."""
    with warnings.catch_warnings():
        # The words in place of the command's own are meant.
        warnings.filterwarnings("ignore", "LightningCLI's args parameter")
        cli = run_trainer(
            ["fit", "--model.policy=none", "--data=PreferenceDataModule", "--trainer.max_epochs=1"], DataCLI
        )
    of_fit = list(typed_arguments(parser_of_command(cli, "fit")))
    yield from _keys(each for each in of_fit if "." not in each.name and each.name not in _SECTIONS)
    for section, kind in _SECTIONS.items():
        parser = ArgumentParser()
        parser.add_class_arguments(kind, section)
        yield from _keys(typed_arguments(parser))
    yield from _keys(each for each in of_fit if each.name.startswith("trainer."))


def _keys(arguments: Iterable[Argument]) -> Iterator[Key]:
    for each in arguments:
        classes = fitting_names(each.hint)
        yield Key(
            each.name,
            _kind(each.hint, classes),
            REQUIRED if each.required else _default(each.default),
            _first_sentence(each.text),
            tuple(classes),
            tuple(_settings(each, classes)),
        )


def _kind(hint: Any, classes: list[str]) -> str:
    """Say what a key takes: of classes that they are named, since their base is a word of the code."""
    words = in_words(hint).replace("Callable", "the name of a class")
    for kind in classes_of(hint):
        if classes and any(name for name in classes):
            words = re.sub(rf"\b{kind.__name__}\b", "the name of a class", words)
    words = words.replace("Module", "a module").replace("Iterable", "a list").replace("Any", "text")
    return " or ".join(dict.fromkeys(words.split(" or ")))


def _default(value: Any) -> str:
    """Return a default as a config has it, on one line."""
    if hasattr(value, "as_dict"):
        value = value.as_dict()
    if isinstance(value, dict) and "class_path" in value:
        given = ", ".join(f"{name}: {_default(each)}" for name, each in (value.get("init_args") or {}).items())
        name = value["class_path"].rpartition(".")[2]
        return f"{{class_path: {name}, init_args: {{{given}}}}}" if given else name
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _first_sentence(text: str) -> str:
    folded = " ".join(_ROLE.sub(r"`\1`", text).replace("``", "`").split())
    sentence = re.split(r"(?<=[.)]) (?=[A-Z`])", folded)[0].rstrip(".")
    return sentence if len(sentence) <= _LONGEST else f"{sentence[:_LONGEST].rpartition(' ')[0].rstrip(',;:')} …"


def _settings(argument: Argument, classes: list[str]) -> list[str]:
    """Return what the classes of a key are made with; of callbacks, of which a run has several, nothing."""
    found: dict[str, None] = {}
    for name in classes if not argument.name.startswith("trainer.") else ():
        kind = getattr(dpo_lightning, name, None) or getattr(optim, name)
        parameters = inspect.signature(kind).parameters.values()
        kept = [each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
        found |= dict.fromkeys(each for each in kept if each != "params")
    return sorted(found)
