"""Options of readers of files."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from dpo_lightning.errors import InputError

_OPTIONS_OF = {
    "json": {"field", "encoding"},
    "csv": {"sep", "delimiter", "quotechar", "encoding", "keep_default_na"},
    "parquet": set(),
    "arrow": set(),
}


_MARKS = ("sep", "delimiter", "quotechar")


@dataclass(frozen=True)
class FileOptions:
    """How files are read; each is an entry of `data.load_options`.

    Attributes:
        field: Field of a JSON file's one object that has the list of rows; None where the file has the rows itself.
        encoding: Encoding of JSON, CSV and TSV.
        sep: What separates the fields of a CSV; None for a comma, and a tabulator in a `.tsv`.
        quotechar: What stands around a field of a CSV that has separators in it.
        empty_is_null: Whether an empty field of a CSV is null, and not an empty text.
    """

    field: str | None = None
    encoding: str = "utf-8-sig"
    sep: str | None = None
    quotechar: str = '"'
    empty_is_null: bool = True

    @classmethod
    def of(cls, options: Mapping[str, Any], kinds: Iterable[str]) -> FileOptions:
        """Make the options of files of these kinds.

        Raises:
            InputError: naming an option that no reader of theirs has, or a value that it cannot be.
        """
        known = sorted(set().union(*(_OPTIONS_OF[kind] for kind in kinds)))
        for name in options:
            if name not in known:
                has = f"the options of their reader are {', '.join(known)}" if known else "their reader has no options"
                raise InputError(f"data.load_options.{name} means nothing for these files: {has}")
        if options.get("keep_default_na") is True:
            raise InputError("data.load_options.keep_default_na: words such as NA always stay text: leave it out")
        options = _marks(options)
        _check_texts(options)
        given = {name: value for name, value in options.items() if name in {each.name for each in fields(cls)}}
        made = replace(cls(), **given, empty_is_null=options.get("keep_default_na") is None)
        return replace(made, sep=options.get("delimiter", made.sep), encoding=_encoding(made.encoding))


def _check_texts(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if name == "keep_default_na" and not isinstance(value, bool):
            raise InputError(f"data.load_options.{name}: {value!r:.60} is no true or false")
        if name != "keep_default_na" and not isinstance(value, str):
            raise InputError(f"data.load_options.{name}: {value!r:.60} is no text")
        if name in _MARKS and (len(value) != 1 or value in "\r\n"):
            ends = ", which ends a line" if value in ("\r", "\n") else ""
            raise InputError(f"data.load_options.{name} must be one character, got {value!r:.60}{ends}")
    if "sep" in options and "delimiter" in options:
        raise InputError("data.load_options.sep and data.load_options.delimiter: give one of them")


def _marks(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with a tabulator for its escape, as a shell or a card spells it."""
    return {name: "\t" if name in _MARKS and value == r"\t" else value for name, value in options.items()}


def _encoding(name: str) -> str:
    try:
        "".encode(name)
        codec = codecs.lookup(name).name
    except (LookupError, UnicodeError, ValueError):
        raise InputError(f"data.load_options.encoding: there is no encoding {name!r:.60}") from None
    return "utf-8-sig" if codec == "utf-8" else codec
