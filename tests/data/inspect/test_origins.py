"""Names of sources in columns that nobody reads."""

from __future__ import annotations

import numpy as np

from dpo_lightning.data.inspect.origins import Origins
from dpo_lightning.data.inspect.said import Said
from dpo_lightning.data.inspect.survey import Seen
from dpo_lightning.data.tokenize import Outcome


def seen(values) -> Seen:
    ids = np.array([1])
    return Seen(0, Said.of("p", ["c"]), None, values, False, False, ids, [ids], Outcome.KEPT, False, (1, 1))


def test_short_texts_of_columns_that_nobody_reads_are_names():
    origins = Origins(["label"])
    row = {"by": "us", "label": "good", "note": "x" * 41, "none": None, "n": 3, "score": "-1.5", "empty": ""}
    assert origins.of(row) == {"by": "us"}
    assert origins.of(row) is origins.of({"by": "us"}), "kept once"
    assert origins.of({"meta": {"model": "big", "n": 3}, "label": {"by": "us"}}) == {"meta.model": "big"}


def test_a_column_with_many_values_names_nothing():
    origins = Origins()
    rows = [{"by": "us", "id": f"n{number}"} for number in range(60)]
    examples = [seen(origins.of(row)) for row in rows]
    assert examples[0].values == {"by": "us", "id": "n0"}
    assert examples[-1].values == {"by": "us"}
    assert {tuple(each.values.items()) for each in origins.with_few(examples)} == {(("by", "us"),)}
