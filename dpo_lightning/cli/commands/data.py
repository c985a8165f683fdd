"""`dpo-lightning data export`: the rows that would be trained on, as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo_lightning.cli.data_of_config import data_of_config
from dpo_lightning.cli.parsers.data import parser
from dpo_lightning.cli.surveys import places
from dpo_lightning.data.reading.sources import load_rows
from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import check_writable, replaced
from dpo_lightning.utils.text import shown

if TYPE_CHECKING:
    from datasets import Dataset


def data(arguments: Sequence[str]) -> None:
    """Write the training rows of a config that are left after `data.clean`, as its objective reads them.

    Raises:
        InputError: for rows that cannot be read or written, and for a file that is there already.
    """
    options, words = parser().parse_known_args(arguments)
    output: Path = options.output
    if output.exists():
        raise InputError(f"data export --output: {output} is there already: give another path, or remove it")
    if output.suffix != ".jsonl":
        raise InputError(
            f"data export --output: {output}: rows are written as JSON lines: give a path that ends in .jsonl"
        )
    check_writable("data export --output", output, directory=False)
    found = data_of_config([*(f"--config={each}" for each in options.config), *words])
    module = found.data
    for key, given in {"data.sources": module.sources, "data.streaming": module.streaming}.items():
        if given:
            raise InputError(f"data export: {key}: name one source of rows that do not stream in data.dataset")
    module.read_all(found.read)
    train = next(places(module))
    rows = load_rows(train.source.dataset, train.split, module.load_options, train.keys)
    numbers = sorted(set(module.splits["train"]["row"][:]))
    _write(rows, numbers, output)
    print(shown(f"{len(numbers)} of {len(rows)} rows in {output}, as {found.read.objective} reads them"))


def _write(rows: Dataset, numbers: Sequence[int], output: Path) -> None:
    with replaced(output) as temporary, temporary.open("w", encoding="utf-8") as file:
        for number in numbers:
            file.write(json.dumps(_plain(rows[number], number), ensure_ascii=False) + "\n")


def _plain(row: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a row without the empty fields that a table gives to the mappings in it.

    Raises:
        InputError: for a value that JSON has no form for.
    """
    return {name: _value(value, f"row {number}, column `{name}`") for name, value in row.items()}


def _value(value: Any, place: str) -> Any:
    if isinstance(value, dict):
        return {name: _value(inner, place) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_value(inner, place) for inner in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise InputError(f"data export: {place}: a {type(value).__name__} has no form in JSON: take the column out")
