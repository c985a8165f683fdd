"""Columns of JSON."""

from __future__ import annotations

import pytest

from dpo_lightning.data.formats.decoded import decoded
from dpo_lightning.errors import InputError


def test_json_is_read_in_the_columns_that_are_named():
    row = {"a": "[1]", "b": "[1]", "c": [2]}

    assert dict(decoded(row, ["a", "c", "other"])) == {"a": [1], "b": "[1]", "c": [2]}
    assert decoded(row, None) is row
    with pytest.raises(InputError, match=r"^field `b`: text that is not JSON: "):
        decoded({"b": "[1"}, ["b"])
