"""JSON files that the reader would die of, and those that it reads."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from dpo_lightning.data.reading.json_files import examine, raise_on_malformed
from dpo_lightning.errors import InputError

ROW = '{"prompt": "[[{", "chosen": "b \\\\\\" [", "rejected": "c"}'


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize(
    "text", [ROW, f"{ROW}\n{ROW}\n", f"\n\ufeff{ROW}", f"[{ROW}, {ROW}]", "[]", json.dumps({"prompt": "[" * 2000})]
)
def test_rows_pass(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    examine([tmp_path / name])


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize("text", ["null", "  null\n", f"null\n{ROW}", "3", '"text"', "true"])
def test_a_first_row_that_is_none_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf"{name}: line 1: not a JSON object, but"):
        examine([tmp_path / name])


@pytest.mark.parametrize("brackets", ["[]", "{}"])
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_deep_nesting_is_refused(tmp_path: Path, name: str, brackets: str) -> None:
    opening, closing = brackets if brackets == "[]" else ('{"a":', "}")
    deep = opening * 20_000 + "1" + closing * 20_000
    (tmp_path / name).write_text(f'{ROW[:-1]}, "more": {deep}}}')
    with pytest.raises(InputError, match=rf"{name}: line 1: nested deeper than 512 levels"):
        examine([tmp_path / name])


def test_nesting_over_lines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("[\n" * 600 + "]\n" * 600)
    with pytest.raises(InputError, match="nested deeper than 512 levels"):
        examine([tmp_path / "rows.json"])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "not gzip"])
def test_a_damaged_gz_is_refused(tmp_path: Path, damage: str) -> None:
    packed = bytearray(gzip.compress("".join(f'{{"prompt": "{i * i}"}}\n' for i in range(500)).encode()))
    if damage == "flipped":
        packed[len(packed) // 2] ^= 255
    made = {"truncated": packed[: len(packed) // 2], "flipped": packed, "not gzip": ROW.encode()}[damage]
    (tmp_path / "rows.jsonl.gz").write_bytes(made)
    with pytest.raises(InputError, match=r"rows\.jsonl\.gz: ") as refused:
        examine([tmp_path / "rows.jsonl.gz"])
    assert "\n" not in str(refused.value)


def test_a_file_that_has_changed_is_examined_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(ROW)
    examine([path])
    path.write_text("null")
    with pytest.raises(InputError):
        examine([path])


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{ROW}\n{{"prompt": \n')
    with pytest.raises(InputError, match=r"rows\.jsonl: line 2: malformed JSON: Expecting value"):
        raise_on_malformed([path])
    path.write_text(ROW)
    raise_on_malformed([path])
