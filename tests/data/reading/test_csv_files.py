"""CSV and TSV, against the module `csv`."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.data.reading import csv_files
from dpo_lightning.data.reading.csv_files import csv_blocks
from dpo_lightning.data.reading.options import FileOptions
from dpo_lightning.errors import InputError

PIECES = ["a", "007", "TRUE", "NA", "1e5", "2024-01-02", '"', ",", "\t", "\n", "\r\n", "\r", "\u2028", "\x1c", "é", " "]


def read(path: Path, **options: Any) -> list[dict[str, Any]]:
    return [row for block in csv_blocks(path, FileOptions(**options), int) for row in block.table.to_pylist()]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_every_value_is_the_text_that_was_written(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "_CHARACTERS", 50)
    drawn = random.Random(0)
    rows = [{name: "".join(drawn.choices(PIECES, k=drawn.randrange(5))) for name in "xyz"} for _ in range(500)]
    with (tmp_path / f"a{suffix}").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, "xyz", delimiter="\t" if suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    assert read(tmp_path / f"a{suffix}", empty_is_null=False) == rows
    assert read(tmp_path / f"a{suffix}") == [{name: text or None for name, text in row.items()} for row in rows]


def test_texts_behind_many_rows_are_not_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("p,q\n" + "x,1\n" * 10_000 + "007,TRUE\n")
    rows = read(tmp_path / "a.csv")
    assert (rows[0], rows[-1], len(rows)) == ({"p": "x", "q": "1"}, {"p": "007", "q": "TRUE"}, 10_001)


def test_long_fields_are_read_and_the_limit_of_others_stays(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    (tmp_path / "a.csv").write_text(f"\ufeffp,q\n{'x' * 300_000},\n\n", encoding="utf-8")
    assert read(tmp_path / "a.csv") == [{"p": "x" * 300_000, "q": None}]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('p,q\na,b\n"x\ny",c\nd\n', "line 5: the row has 1 fields, and the header 2"),
        ("p,q\na,b,c\n", "line 2: the row has more fields than the header, 3 for 2: put fields with commas in quotes"),
        ('p,q\na,"b\nc,d\n', "line 2: unexpected end of data: put fields with separators"),
        ('p,q\na,"b"c\n', "line 2: ',' expected after '\"': put fields with separators"),
        ("p,,q\na,b,c\n", "line 1: the header has a column without a name"),
        ("p,q,p\na,b,c\n", "the header names `p` twice"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError) as refused:
        read(tmp_path / "a.csv")
    assert f"{tmp_path}/a.csv: {message}" in str(refused.value)


def test_options_of_a_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("p;q\n'a;\u00e9';\n".encode("latin-1"))
    assert read(tmp_path / "a.csv", sep=";", quotechar="'", encoding="iso8859-1") == [{"p": "a;\u00e9", "q": None}]


@pytest.mark.parametrize("text", ["", "\n\n", "p,q\n"])
def test_a_file_without_rows(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert read(tmp_path / "a.csv") == []


def test_a_quote_is_compared_with_what_separates_the_fields_of_that_file(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("p\tq\n,a\tb,\tc\n")
    assert read(tmp_path / "a.tsv", quotechar=",") == [{"p": "a\tb", "q": "c"}]
    for sep, mark in ((None, "\t"), (",", ",")):
        with pytest.raises(InputError, match=r"^data\.load_options\.quotechar: '.*' separates the fields of .*a\.tsv"):
            read(tmp_path / "a.tsv", sep=sep, quotechar=mark)
