"""The page of credit, token by token."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from pyarrow import parquet

from dpo_lightning.errors import InputError
from dpo_lightning.report.credit import credit_page

ROW = {
    "pair_id": 3,
    "completion": 0,
    "reward": 1.5,
    "tokens": ["please", " <b>", "no"],
    "credit": [2.0, -1.0, 0.5],
}


def test_each_token_has_the_colour_and_the_number_of_its_credit(tmp_path):
    parquet.write_table(
        pa.Table.from_pylist([ROW, {**ROW, "pair_id": 4, "credit": [0.0, 0.0, 0.0]}]), tmp_path / "r.parquet"
    )
    page = credit_page(tmp_path / "r.parquet", tmp_path / "credit.html", rows=1).read_text()
    found = re.findall(
        r'<span title="([^"]+)" style="background: rgba\((\d+)[^"]*, ([\d.]+)\)"><bdi>([^<]*)</bdi>', page
    )
    assert found == [
        ("+2", "38", "0.60", "please"),
        ("-1", "220", "0.30", " &lt;b&gt;"),
        ("+0.5", "38", "0.15", "no"),
    ]
    assert "row 3, completion 0: reward 1.5" in page
    assert "row 4" not in page


def test_files_without_tokens_are_refused(tmp_path):
    parquet.write_table(pa.table({"pair_id": [0], "reward": [1.0]}), tmp_path / "r.parquet")
    with pytest.raises(InputError, match=r"r\.parquet has no column completion: write it with WriteRewards"):
        credit_page(tmp_path / "r.parquet", tmp_path / "credit.html")
    (tmp_path / "r.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"^credit_page: .*r\.jsonl cannot be read"):
        credit_page(tmp_path / "r.jsonl", tmp_path / "credit.html")
    with pytest.raises(InputError, match=r"nowhere\.parquet cannot be read"):
        credit_page(tmp_path / "nowhere.parquet", tmp_path / "credit.html")
    assert not (tmp_path / "credit.html").exists()
