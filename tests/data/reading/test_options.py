"""Options of readers: known, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.data.reading.options import FileOptions
from dpo_lightning.errors import InputError


def test_options_are_those_of_the_kinds_of_files() -> None:
    assert FileOptions.of({}, {"json"}) == FileOptions()
    assert FileOptions.of({"field": "data", "encoding": "UTF8"}, {"json"}) == FileOptions(field="data")
    made = FileOptions.of({"delimiter": ";", "keep_default_na": False, "encoding": "latin-1"}, {"csv", "parquet"})
    assert made == FileOptions(sep=";", empty_is_null=False, encoding="iso8859-1")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"field": "x"},
            "csv",
            "load_options.field means nothing for these files: the options of their reader are ",
        ),
        ({"sep": ";"}, "parquet", "load_options.sep means nothing for these files: their reader has no options"),
        ({"keep_default_na": True}, "csv", "load_options.keep_default_na: words such as NA always stay text"),
        ({"keep_default_na": 0}, "csv", "load_options.keep_default_na: 0 is no true or false"),
        ({"sep": ";;"}, "csv", "load_options.sep must be one character, got ';;'"),
        ({"field": 3}, "json", "load_options.field: 3 is no text"),
        ({"encoding": "utf-9"}, "json", "load_options.encoding: there is no encoding 'utf-9'"),
    ],
)
def test_what_no_reader_has_is_refused(options: dict[str, Any], kind: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"^data.{message}"):
        FileOptions.of(options, {kind})
