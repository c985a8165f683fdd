"""Code of a format is part of the key of its tokens."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning import PreferenceDataModule, RowFormat, UnpairedFormat
from dpo_lightning.data.formats.code import format_identity
from dpo_lightning.data.tokenize import ExampleTokenizer
from tests.data.common import data, ready, rows, write

MODULE = """
from dataclasses import dataclass

from dpo_lightning import Column, RowFormat

SCALE = 1.0


def scaled(text):
    return SCALE * len(text)


@dataclass(frozen=True)
class Lengths(RowFormat):
    @property
    def columns(self):
        return {"length": Column("Length.")}

    def examples(self, row, quote=str):
        (pair,) = super().examples(row, quote)
        return [pair._replace(columns={"length": scaled(row["chosen"])})]
"""
OTHER = """
from lengths_of_rows import Lengths


class Derived(Lengths):
    pass
"""


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Write a module with the format, with one text in place of another, and import it anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def read(module: str = MODULE, name: str = "lengths_of_rows") -> Any:
        (tmp_path / f"{name}.py").write_text(module)
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    return read


@pytest.fixture
def source(tmp_path: Path) -> str:
    return write(tmp_path / "pairs.jsonl", rows())


def columns(loaded: PreferenceDataModule) -> dict[str, Any]:
    return dict(loaded.examples("train")[1].columns)


def test_an_edited_format_is_read_anew_and_an_unchanged_one_comes_from_the_cache(imported, source, monkeypatch):
    def read(*replaced: str) -> dict[str, Any]:
        return columns(ready(source, format=imported(MODULE.replace(*replaced) if replaced else MODULE).Lengths()))

    assert read() == {"length": 5.0}
    assert read("SCALE = 1.0", "SCALE = 3.0") == {"length": 15.0}
    assert read("SCALE *", "-") == {"length": -5.0}
    assert read('scaled(row["chosen"])', "0.5") == {"length": 0.5}
    monkeypatch.setattr(ExampleTokenizer, "encode", None)
    assert read() == {"length": 5.0}


def test_a_column_more_is_no_error_of_the_cache(imported, source):
    before = imported().Lengths()
    ready(source, format=before)
    after = MODULE.replace('"Length.")}', '"Length."), "note": Column.of_text("Note.")}').replace(
        '["chosen"])}', '["chosen"]), "note": "new"}'
    )
    assert columns(ready(source, format=imported(after).Lengths())) == {"length": 5.0, "note": "new"}


def test_the_module_of_a_base_class_counts(imported, source):
    imported()
    assert columns(ready(source, format=imported(OTHER, "derived_lengths").Derived())) == {"length": 5.0}
    imported(MODULE.replace("SCALE = 1.0", "SCALE = 2.0"))
    assert columns(ready(source, format=imported(OTHER, "derived_lengths").Derived())) == {"length": 10.0}


def test_a_class_without_source_is_read_too():
    space: dict[str, Any] = {"__name__": "made_in_memory"}
    exec(MODULE.replace("@dataclass(frozen=True)", ""), space)

    assert columns(ready(format=space["Lengths"]())) == {"length": 5.0}


@pytest.mark.parametrize("row_format", [RowFormat(), UnpairedFormat()], ids=["pairs", "completions"])
def test_formats_of_the_package_are_known_by_its_version(row_format):
    *_, sources, version = format_identity(row_format)

    assert set(sources.values()) == {None}
    assert version == importlib.import_module("dpo_lightning").__version__
    data(format=row_format)


FORM = """
from collections.abc import Callable
from dataclasses import dataclass

import helps
from dpo_lightning import RowFormat
from helps import ENDING, clean


def upper(text):
    return text.upper()


@dataclass(frozen=True)
class Cleaned(RowFormat):
    also: Callable = upper

    def examples(self, row, quote=str, mark="!"):
        (pair,) = super().examples(row, quote)
        return [pair._replace(prompt=helps.lead() + self.also(clean(pair.prompt)) + ENDING + mark)]
"""
HELPS = """
ENDING = "."


def clean(text, by="a"):
    return text.replace("b", by)


def lead():
    return "x"
"""


@pytest.mark.parametrize(
    ("module", "before", "after", "prompt"),
    [
        ("form", 'mark="!"', 'mark="?"', "xAAAA:.?"),
        ("form", "text.upper()", "text", "xaaaa:.!"),
        ("helps", 'ENDING = "."', 'ENDING = ","', "xAAAA:,!"),
        ("helps", 'by="a"', 'by="c"', "xACAC:.!"),
        ("helps", 'return "x"', 'return "y"', "yAAAA:.!"),
    ],
    ids=["default argument", "function as a setting", "constant", "default in a helper", "attribute of a module"],
)
def test_tokens_are_those_of_the_code_that_the_format_reaches(imported, source, module, before, after, prompt):
    def read(edited: str) -> str:
        texts = {"helps": HELPS, "form": FORM}
        if edited:
            texts[module] = texts[module].replace(before, after)
        made = [imported(text, name) for name, text in texts.items()]
        loaded = ready(source, format=made[-1].Cleaned())
        return loaded.tokenizer.decode(loaded.examples("train")[2].prompt_ids)

    assert read("").endswith("xAAAA:.!")
    assert read("edited").endswith(prompt)
    assert read("").endswith("xAAAA:.!")
