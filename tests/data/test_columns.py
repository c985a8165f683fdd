"""Margins, probabilities and weights: from a row to the scores, and who may name and read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import datasets
import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from dpo_lightning import DPO, PreferenceDataModule, PreferenceModule, RowFormat
from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.data.content_hash import content_hash, index_rows
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Objective, Reads
from dpo_lightning.losses.scores import PairScores
from tests.helpers.runs import rows, trainer
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

SCORED = [
    {**row, "better": 1.5 * number, "worse": 0.5, "share": number / 24, "times": 24 - number}
    for number, row in enumerate(rows(24))
]
FORMAT = RowFormat(margin=["better", "worse"], probability="share", weight="times")


class ByColumns(DPO):
    """DPO that reads all columns and remembers what it was given."""

    seen: ClassVar[list[PairScores]] = []

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        return Reads.REFERENCE | Reads.MARGIN | Reads.PROBABILITY | Reads.WEIGHT

    def __call__(self, scores: PairScores) -> Tensor:
        self.seen.append(scores)
        return super().__call__(scores)


def data(content: list[dict[str, Any]] | None = None, **settings: Any) -> PreferenceDataModule:
    source = datasets.Dataset.from_list(SCORED if content is None else content)
    defaults = {"tokenizer": tiny_tokenizer(), "batch_pairs": 4, "format": FORMAT, "layout": "tree"}
    return PreferenceDataModule(source, **{**defaults, **settings})


def module(objective: Objective, **settings: Any) -> PreferenceModule:
    return PreferenceModule(tiny_llama(), objective, **settings)


def columns_of(row_format: RowFormat, row: dict[str, Any]) -> Mapping[str, float]:
    (example,) = row_format.examples({"prompt": "q", "chosen": "a", "rejected": "b", **row})
    return example.columns


@pytest.mark.parametrize(
    ("row_format", "expected"),
    [
        (RowFormat(), {}),
        (RowFormat(margin="better"), {"margin": 3.0}),
        (RowFormat(margin=["better", "worse"]), {"margin": 2.5}),
        (RowFormat(probability="share", weight="worse"), {"probability": 0.25, "weight": 0.5}),
    ],
    ids=["none", "one column", "a difference", "two kinds"],
)
def test_reads_what_is_named(row_format: RowFormat, expected: dict[str, float]) -> None:
    row = {"better": 3, "worse": 0.5, "share": 0.25}

    assert row_format.columns_named.keys() == expected.keys()
    assert columns_of(row_format, row) == expected


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"better": None}, "field `better`: null"),
        ({"worse": "half"}, "field `worse`: str, not a number"),
        ({"worse": True}, "field `worse`: bool, not a number"),
        ({"better": math.nan}, "field `better`: nan is no finite number"),
        ({"better": -math.inf}, "field `better`: -inf is no finite number"),
        ({"better": 1e39}, "field `better`: 1e+39 is no finite number"),
        ({"share": 1.1}, "field `share`: 1.1, but a probability is between 0 and 1"),
        ({"share": -0.1}, "field `share`: -0.1, but a probability is between 0 and 1"),
        ({"times": -1}, "field `times`: -1, but a weight is 0 or greater"),
    ],
)
def test_a_bad_value_is_named(changed: dict[str, Any], message: str) -> None:
    row = {"better": 1.0, "worse": 0.5, "share": 0.5, "times": 1.0, **changed}

    with pytest.raises(InputError) as raised:
        columns_of(FORMAT, row)

    assert str(raised.value) == message


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"^no column `score`; the columns are .*, `better`, `worse`$"):
        columns_of(RowFormat(margin="score"), {"better": 1, "worse": 2})


@pytest.mark.parametrize("margin", [[], ["better"], ["a", "b", "c"], [1, 2], 3, {"a": 1, "b": 2}])
def test_a_margin_is_of_one_column_or_two(margin: Any) -> None:
    with pytest.raises(InputError, match=r"^RowFormat\.margin: name one column, or two whose difference it is, got"):
        RowFormat(margin=margin)


@pytest.mark.parametrize("given", [["id"], ["a", "b"], 3, True])
@pytest.mark.parametrize("name", ["probability", "weight"])
def test_other_numbers_are_of_one_column(name: str, given: Any) -> None:
    with pytest.raises(InputError) as raised:
        RowFormat(**{name: given})
    assert str(raised.value) == f"RowFormat.{name}: name one column, got {given!r}"


@pytest.mark.parametrize("given", [[1], 3, {"a": 1}])
def test_texts_are_of_columns(given: Any) -> None:
    with pytest.raises(InputError) as raised:
        RowFormat(texts=given)
    assert str(raised.value) == f"RowFormat.texts: name a list of columns, got {given!r}"


def test_a_bad_row_is_named_before_training() -> None:
    content = [dict(row) for row in SCORED]
    content[17]["share"] = 2.0

    with pytest.raises(InputError, match=r"split train, row 17 \(from 0\): field `share`: 2, but a probability is"):
        data(content).prepare_data()


@pytest.mark.filterwarnings("ignore:precision bf16-true")
@pytest.mark.parametrize(
    ("layout", "workers", "precision"), [("tree", 0, "bf16-true"), ("padded", 0, "32-true"), ("tree", 1, "32-true")]
)
def test_values_reach_the_objective_as_they_are(layout: str, workers: int, precision: str) -> None:
    ByColumns.seen.clear()
    run = trainer(precision=precision, max_steps=2)
    run.fit(module(ByColumns(), step_zero_check=False), data(layout=layout, num_workers=workers, length_grouped=False))

    for scores in ByColumns.seen:
        columns = scores.columns
        assert {column.dtype for column in columns.values()} == {torch.float32}
        numbers = (24 - columns["weight"]).tolist()
        assert len(set(numbers)) == 4
        assert columns["margin"].tolist() == [1.5 * number - 0.5 for number in numbers]
        assert columns["probability"].tolist() == torch.tensor([number / 24 for number in numbers]).tolist()


def test_a_held_out_part_keeps_its_values() -> None:
    loaded = data(val_split=0.25)
    loaded.setup()
    found = {pair.row: pair.columns["margin"] for split in loaded.examples_used("fit") for pair in split}

    assert found == {number: 1.5 * number - 0.5 for number in range(24)}


def tokenized(content: list[dict[str, Any]], row_format: RowFormat) -> datasets.Dataset:
    loaded = data(content, format=row_format)
    loaded.setup()
    return loaded.examples("train").rows


def test_a_changed_value_is_another_run_but_the_same_row_of_the_reference_cache() -> None:
    changed = [dict(row) for row in SCORED]
    changed[3]["times"] = 1
    before, after = tokenized(SCORED, FORMAT), tokenized(changed, FORMAT)
    without = tokenized(SCORED, RowFormat())

    assert content_hash(before) != content_hash(after)
    assert content_hash(tokenized(SCORED, RowFormat(margin="worse"))) != content_hash(
        tokenized(SCORED, RowFormat(weight="worse"))
    )
    assert content_hash(before) == content_hash(tokenized([dict(row) for row in SCORED], FORMAT))
    for other in (after, without):
        assert (index_rows(before).keys == index_rows(other).keys).all()


def test_a_run_with_other_values_is_not_resumed(tmp_path: Path) -> None:
    run = trainer(max_steps=2)
    run.fit(module(ByColumns()), data(val_split=None))
    run.save_checkpoint(tmp_path / "x.ckpt")
    changed = [{**row, "times": 1} for row in SCORED]

    said = (
        r"^the checkpoint was written with content \w+, this run has \w+ \(other values in the column `weight`\): its"
    )
    with pytest.raises(InputError, match=said):
        trainer(max_steps=4).fit(module(ByColumns()), data(changed), ckpt_path=tmp_path / "x.ckpt")
    trainer(max_steps=4).fit(module(ByColumns()), data(), ckpt_path=tmp_path / "x.ckpt")


def test_refuses_what_the_objective_reads_and_nobody_names() -> None:
    """Before the data is read: there is none."""
    missing = PreferenceDataModule("nowhere.jsonl", tiny_tokenizer(), format=RowFormat(margin="better", weight="times"))

    with pytest.raises(InputError) as raised:
        trainer().fit(module(ByColumns()), missing)

    assert str(raised.value) == (
        "the objective reads the probability of each row: name its column in data.format.probability"
    )


@pytest.mark.parametrize("run", ["fit", "validate", "predict"])
def test_refuses_what_nobody_reads(run: str) -> None:
    named = PreferenceDataModule("nowhere.jsonl", tiny_tokenizer(), format=RowFormat(margin="better"))

    with pytest.raises(InputError, match=r"^data\.format\.margin: the objective does not read it: leave it out"):
        getattr(trainer(), run)(module(DPO()), named)


def test_a_prediction_needs_no_column() -> None:
    rewards = trainer().predict(module(ByColumns()), data(format=RowFormat(), test_split="train"))

    assert sum(len(batch["pair_id"]) for batch in rewards) == 24


def test_a_subclass_may_read_columns_itself() -> None:
    class ByWeight(PreferenceModule):
        def data_read(self) -> DataRead:
            read = super().data_read()
            return read._replace(reads=read.reads | Reads.WEIGHT)

        def pair_losses(self, batch: PreferenceBatch, scores: PairScores) -> Tensor:
            return super().pair_losses(batch, scores) * batch.columns["weight"]

    trainer(max_steps=1).fit(ByWeight(tiny_llama()), data(format=RowFormat(weight="times")))


def test_a_module_without_the_method_is_not_asked() -> None:
    class Own(pl.LightningModule):
        def training_step(self, batch: PreferenceBatch, batch_idx: int) -> Tensor:
            assert "margin" in batch.columns
            return self.layer.weight.sum()

        def validation_step(self, batch: PreferenceBatch, batch_idx: int) -> None:
            assert "margin" in batch.columns

        def configure_model(self) -> None:
            self.layer = torch.nn.Linear(1, 1)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer(max_steps=1).fit(Own(), data(val_split=0.25))
