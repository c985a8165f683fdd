"""JSON files: every row that the module `json` reads, the same, and one line for the rest."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.data.reading import json_files
from dpo_lightning.data.reading.json_files import json_blocks
from dpo_lightning.data.reading.options import FileOptions
from dpo_lightning.errors import InputError

ROW = '{"prompt": "[[{", "chosen": "b \\\\\\" [", "rejected": "c\\u2028"}'
ROWS = [json.loads(ROW), {"prompt": "2024-01-02", "chosen": "007", "rejected": "\u2028 \u00e9 \x00"}]
SPREAD = json.dumps(ROWS[0], indent=1)


def read(path: Path, field: str | None = None) -> list[Any]:
    return [row for block in json_blocks(path, FileOptions(field=field), int) for row in block.table.to_pylist()]


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        read(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.fixture(params=[1, 7, 1 << 22], autouse=True)
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in pieces of so many characters."""
    monkeypatch.setattr(json_files, "_CHUNK", request.param)


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ROW, ROWS[:1]),
        (f"{ROW}\r\n\r\n{ROW}\n", ROWS[:1] * 2),
        (f"\n\ufeff{ROW}", ROWS[:1]),
        (f"\ufeff[{ROW}, {ROW}]\n\n", ROWS[:1] * 2),
        (f" [\n{SPREAD}\n,\n{SPREAD}\n] ", ROWS[:1] * 2),
        (SPREAD, ROWS[:1]),
        (f"{SPREAD}\n{SPREAD}", ROWS[:1] * 2),
        ("\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS), ROWS),
        ("[]", []),
        (" \n", []),
        (json.dumps({"prompt": "[" * 2000}), [{"prompt": "[" * 2000}]),
    ],
)
def test_rows_are_what_the_file_says(tmp_path: Path, name: str, text: str, expected: list[Any]) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert read(tmp_path / name) == expected


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize("text", ["null", "  null\n", f"null\n{ROW}", "3", '"text"', "true"])
def test_a_first_row_that_is_none_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert f"{name}: line 1: not a JSON object, but {text.split(maxsplit=1)[0]}" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"{ROW}\n{{]\n{ROW}", "line 2: malformed JSON: Expecting property name"),
        (f'{ROW}\n\n{{"a": "b"', "line 3: malformed JSON: "),
        (f'{ROW}\n{{"a": "b', "line 2: malformed JSON: Unterminated string"),
        (f"{ROW}\n{ROW} {ROW}\n", "line 2: malformed JSON: Extra data"),
        (f"{ROW}\nnull\n", "line 2: not a JSON object, but null"),
        (f'{ROW}\n{{"a": [{{"b": 1, "b": 2}}]}}\n', "line 2: the field `b` is specified twice in one object"),
        (f"[{ROW},\n\n{ROW} {ROW}]", "line 3: malformed JSON: Expecting ','"),
        (f"[{ROW},\n{ROW},\n]", "line 3: malformed JSON: Extra data (column 1)"),
        (f"[{ROW},\n{ROW}", "line 2: malformed JSON: Expecting"),
        (f"[{ROW}]\n3", "line 2: malformed JSON: Extra data (column 1)"),
        (f'[{ROW},\n {{"a": }}]', "line 2: malformed JSON: Expecting value (column 8)"),
        (f"[{ROW},\n3]", "row 1 (from 0): not a JSON object, but 3"),
        (f'{SPREAD}\n{{\n"a": tru}}', "line 7: malformed JSON: Expecting value (column 6)"),
    ],
)
def test_what_is_malformed_is_named_with_its_line(tmp_path: Path, text: str, place: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    assert f"{tmp_path}/a.jsonl: {place}" in refusal(tmp_path / "a.jsonl")


@pytest.mark.parametrize("brackets", ["[]", "{}"])
@pytest.mark.parametrize("depth", [600, 20_000])
@pytest.mark.parametrize("within", ["{row}", "[{row}]", "{row}\n{row}"])
def test_deep_nesting_is_refused(tmp_path: Path, brackets: str, depth: int, within: str) -> None:
    opening, closing = brackets if brackets == "[]" else ('{"a":', "}")
    row = f'{ROW[:-1]}, "more": {opening * depth}1{closing * depth}}}'
    (tmp_path / "a.json").write_text(within.replace("{row}", row))
    assert refusal(tmp_path / "a.json").endswith("a.json: line 1: nested deeper than 512 levels")


def test_rows_under_a_field(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"version": 1, "data": ROWS}))
    assert read(path, "data") == ROWS
    with pytest.raises(InputError, match=r"^data.load_options.field: .*a.json is no JSON object with a list under 'x'"):
        read(path, "x")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "not gzip"])
def test_a_damaged_gz_is_refused(tmp_path: Path, damage: str) -> None:
    packed = bytearray(gzip.compress("".join(f'{{"prompt": "{i * i}"}}\n' for i in range(500)).encode()))
    if damage == "flipped":
        packed[len(packed) // 2] ^= 255
    made = {"truncated": packed[: len(packed) // 2], "flipped": packed, "not gzip": ROW.encode()}[damage]
    (tmp_path / "rows.jsonl.gz").write_bytes(made)
    assert "rows.jsonl.gz: " in refusal(tmp_path / "rows.jsonl.gz")
