"""Columns that a format declares itself, and texts: from a row to the batch, and what is refused."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pytest
from datasets import Dataset
from torch import Tensor

from dpo_lightning import (
    KTO,
    Column,
    Compares,
    Example,
    Format,
    PreferenceDataModule,
    Reads,
    RowFormat,
    UnpairedFormat,
    UnpairedScores,
)
from dpo_lightning.batch import COLUMNS as PACKAGE_COLUMNS
from dpo_lightning.cli.main import main
from dpo_lightning.data.content_hash import content_hash
from dpo_lightning.errors import InputError
from tests.helpers.runs import module, rows, trainer
from tests.helpers.tiny import tiny_tokenizer

COLUMNS = {
    "score": Column.of_completions("Score of a judge.", lambda value: value < 10, "a score is less than 10"),
    "length": Column("Length."),
    "source": Column.of_text("Place that the row is from."),
}
ROWS = [{**row, "score": [n + 1 / 3, -n / 4], "length": n / 7, "source": f"s{n}"} for n, row in enumerate(rows(8))]


@dataclass(frozen=True)
class Own(Format):
    """Gives the columns that it is told to give."""

    named: Mapping[str, Column]
    gives: ClassVar[Compares] = Compares.PAIRS

    @property
    def columns(self) -> Mapping[str, Column]:
        return self.named

    def examples(self, row: Any, quote: Any = str) -> list[Example]:
        values = {name: row[name] for name in self.columns}
        return [Example.pair(row["prompt"], row["chosen"], row["rejected"], **values)]


def ready(content: list[dict[str, Any]], row_format: Format) -> PreferenceDataModule:
    loaded = PreferenceDataModule(Dataset.from_list(content), tiny_tokenizer(), batch_pairs=4, format=row_format)
    loaded.setup()
    return loaded


def one(**changed: Any) -> list[dict[str, Any]]:
    return [*ROWS[:1], {**ROWS[1], **changed}]


def test_values_reach_the_batch() -> None:
    loaded = ready(ROWS, Own(COLUMNS))
    seen: dict[int, Any] = {}
    for batch in loaded.train_dataloader():
        numbers = batch.columns["score"].tolist(), batch.columns["length"].tolist(), batch.texts["source"]
        for place, row in enumerate(batch.row_ids.tolist()):
            seen[row] = numbers[0][place], numbers[0][batch.examples + place], numbers[1][place], numbers[2][place]

    assert [*sorted(seen)] == [*range(8)]
    for n, row in enumerate(ROWS):
        assert seen[n][:3] == pytest.approx((*row["score"], row["length"]), rel=1e-7)
        assert seen[n][3] == row["source"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"score": [1.0]}, "column `score`: 1 numbers for 2 completions"),
        ({"score": [1.0, 2.0, 3.0]}, "column `score`: 3 numbers for 2 completions"),
        ({"score": None}, "column `score`: null, not a list with a number of each completion"),
        ({"score": [1.0, None]}, "column `score`, completion 1 (from 0): null, not a number"),
        ({"score": [math.nan, 1.0]}, "column `score`, completion 0 (from 0): nan is no finite number"),
        ({"score": [1.0, 10.0]}, "column `score`: 10, but a score is less than 10"),
        ({"length": math.nan}, "column `length`: nan is no finite number"),
        ({"length": None}, "column `length`: null, not a number"),
        ({"source": None}, "column `source`: null, not text"),
        ({"source": "\ufdd0"}, "column `source`: character 0 is U+FDD0, a noncharacter: take it out"),
    ],
)
def test_a_value_that_does_not_fit_is_named(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as raised:
        ready(one(**changed), Own(COLUMNS))

    assert str(raised.value).endswith(f"split train, row 1 (from 0): {said}")


@dataclass(frozen=True)
class Gives(Own):
    """Gives each example the same values, which no file can have."""

    values: Mapping[str, Any]

    def examples(self, row: Any, quote: Any = str) -> list[Example]:
        return [Example.pair(row["prompt"], row["chosen"], row["rejected"], **self.values)]


@pytest.mark.parametrize("value", [2**24 + 2, Fraction(1, 3), np.int64(5), np.float32(0.5)], ids=repr)
def test_any_number_is_stored_as_float32(value: Any) -> None:
    named = {"length": COLUMNS["length"], "score": Column.of_completions("Score.")}
    loaded = ready(ROWS, Gives(named, {"length": value, "score": (value, 1)}))

    found = float(np.float32(float(value)))
    assert [each.columns for each in loaded.examples("train")] == [{"length": found, "score": [found, 1.0]}] * 8


def test_a_number_beyond_all_floats_is_named() -> None:
    with pytest.raises(InputError, match=r"split train, row 0 \(from 0\): column `length`: inf is no finite number$"):
        ready(ROWS, Gives({"length": COLUMNS["length"]}, {"length": 10**400}))


def test_texts_in_place_of_numbers_are_named() -> None:
    content = [{**row, "score": ["one", "2"], "length": "three"} for row in ROWS]
    for name, place in (("score", "`score`, completion 0 (from 0)"), ("length", "`length`")):
        with pytest.raises(InputError) as raised:
            ready(content, Own({name: COLUMNS[name]}))
        assert str(raised.value).endswith(f"row 0 (from 0): column {place}: str, not a number")


@pytest.mark.parametrize("name", ["labels", "row", "prompt_ids", "outcome"])
def test_a_name_of_tokenised_rows_is_taken(name: str) -> None:
    with pytest.raises(InputError, match=rf"^data\.format RowFormat: no column can be called `{name}`"):
        ready(ROWS, RowFormat(texts=[name]))


def test_a_column_of_the_package_holds_what_its_losses_read() -> None:
    with pytest.raises(
        InputError, match=r"^data\.format Own: the column `weight` holds a list .*, and losses read a number under that"
    ):
        ready(ROWS, Own({"weight": COLUMNS["score"]}))


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"length": "Length."}, "the column `length`: 'Length.' is no Column: write `Column("),
        ({"length": Column}, "the column `length`: Column is a class: write Column(...)"),
        (["length"], "columns: ['length'] is no dict: give names with their `Column("),
    ],
)
def test_a_column_is_declared_as_one(named: Any, said: str) -> None:
    with pytest.raises(InputError) as raised:
        PreferenceDataModule("nowhere", tiny_tokenizer(), format=Own(named))
    assert str(raised.value).startswith(f"data.format Own: {said}")


def test_a_format_that_is_set_later_is_one() -> None:
    for use in (PreferenceDataModule.setup, lambda data: trainer().fit(module(), data)):
        loaded = PreferenceDataModule(Dataset.from_list(ROWS), tiny_tokenizer())
        loaded.format = RowFormat  # type: ignore[assignment]
        with pytest.raises(InputError, match=r"^data\.format: RowFormat is a class: write RowFormat\(\.\.\.\)$"):
            use(loaded)


def test_texts_are_named_by_a_list() -> None:
    for kind in (RowFormat, UnpairedFormat):
        with pytest.raises(
            InputError, match=rf"^{kind.__name__}\.texts: name a list of columns, got 'source': write \[source\]$"
        ):
            kind(texts="source")


def test_a_text_is_text() -> None:
    read = RowFormat(texts=["source", "prompt"])
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "source": "web"}

    assert read.examples(row)[0].columns == {"source": "web", "prompt": "q"}
    for value, said in ((None, "null"), (3, "int, not text"), (["web"], "list, not text")):
        with pytest.raises(InputError, match=rf"^field `source`: {said}$"):
            read.examples({**row, "source": value})


@pytest.mark.parametrize("row", [{"chosen": "a", "rejected": "b"}, {"completion": "a", "label": True}])
def test_labelled_completions_have_texts(row: dict[str, Any]) -> None:
    found = UnpairedFormat(texts=["source", "prompt"]).examples({"prompt": "q", "source": "web", **row})

    assert [each.columns for each in found] == [{"source": "web", "prompt": "q"}] * len(found)
    assert [each.labels for each in found] == [[True, False][: len(found[0].completions)]]


def test_a_changed_value_is_another_run() -> None:
    def hashed(content: list[dict[str, Any]], *names: str) -> str:
        return content_hash(ready(content, Own({name: COLUMNS[name] for name in names})).examples("train").rows)

    before = hashed(ROWS, "score", "length", "source")
    others = [
        hashed(ROWS),
        hashed(ROWS, "score"),
        hashed(ROWS, "length"),
        hashed(ROWS, "source"),
        hashed([{**ROWS[0], "score": [0.0, 1.0]}, *ROWS[1:]], "score", "length", "source"),
        hashed([{**ROWS[0], "length": 0.1}, *ROWS[1:]], "score", "length", "source"),
        hashed([{**ROWS[0], "source": ""}, *ROWS[1:]], "score", "length", "source"),
    ]

    assert before == hashed(ROWS, "source", "length", "score")
    assert len({before, *others}) == 8


@dataclass(frozen=True)
class Thumbs(Format):
    """Labelled completions with a weight and a score."""

    gives: ClassVar[Compares] = Compares.LABELLED
    columns: ClassVar[Mapping[str, Column]] = {"weight": PACKAGE_COLUMNS["weight"], "score": COLUMNS["score"]}

    def examples(self, row: Any, quote: Any = str) -> list[Example]:
        score = row["score"][:1]
        return [Example.labelled(row["prompt"], row["chosen"], row["length"] > 0.5, weight=row["times"], score=score)]


class ByWeight(KTO):
    """KTO times the weight of the row."""

    reads = KTO.reads | Reads.WEIGHT
    reads_columns = frozenset({"weight", "score"})

    def __call__(self, scores: UnpairedScores) -> Tensor:
        SEEN.append((scores.columns["weight"].tolist(), scores.columns["score"].tolist()))
        return super().__call__(scores) * scores.columns["weight"]


SEEN: list[tuple[list[float], list[float]]] = []


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_columns_of_labelled_completions_reach_their_scores(precision: str) -> None:
    SEEN.clear()
    content = [{**row, "times": n / 4} for n, row in enumerate(ROWS)]
    loaded = PreferenceDataModule(Dataset.from_list(content), tiny_tokenizer(), batch_pairs=8, format=Thumbs())
    run = trainer(max_steps=1, precision=precision)
    run.fit(module(objective=ByWeight(), step_zero_check=False), loaded)
    (weights, scores), *_ = SEEN

    assert sorted(weights) == [n / 4 for n in range(8)]
    assert scores == pytest.approx([4 * weight + 1 / 3 for weight in weights], rel=1e-6)
    assert run.callback_metrics["train/loss"].item() == pytest.approx(0.5 * sum(weights) / 8, rel=1e-2)


def test_weights_of_rows_are_for_pairs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "fit",
                "--model.policy=nowhere",
                "--data.dataset=nowhere",
                "--data.format=UnpairedFormat",
                "--data.format.weight=times",
            ]
        )
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 2
    assert said.startswith("error: unknown key `data.format.weight`; its keys are prompt, completion, label, ")
    with pytest.raises(InputError, match=r"^data\.format\.score: the objective does not read it"):
        trainer().fit(module(objective=KTO()), PreferenceDataModule("nowhere", tiny_tokenizer(), format=Thumbs()))
