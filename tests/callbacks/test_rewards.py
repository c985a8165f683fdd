"""Predicted rewards as a file."""

from __future__ import annotations

import json

from datasets import Dataset

from dpo_lightning import PreferenceDataModule, RowFormat
from dpo_lightning.callbacks import WriteRewards
from tests.helpers.runs import data, module, rows, trainer
from tests.helpers.tiny import tiny_tokenizer


def test_every_pair_is_written_once(tmp_path):
    model, path = module(), tmp_path / "out" / "rewards.jsonl"
    batches = trainer(callbacks=[WriteRewards(str(path))]).predict(model, data(tmp_path))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["pair_id"] for row in rows] == list(range(8))
    assert [row["chosen"] for row in rows] == [value for batch in batches for value in batch["chosen"].tolist()]


def test_texts_are_written_beside_the_rewards(tmp_path):
    table = [{**row, "source": f"s{number}"} for number, row in enumerate(rows(8))]
    texts = PreferenceDataModule(
        Dataset.from_list(table),
        tiny_tokenizer(),
        format=RowFormat(texts=["source", "chosen"]),
        test_split="train",
        batch_pairs=3,
    )
    path = tmp_path / "rewards.jsonl"
    trainer(callbacks=[WriteRewards(str(path))]).predict(module(), texts)
    written = [json.loads(line) for line in path.read_text().splitlines()]

    assert [row["texts"] for row in written] == [
        {"source": f"s{number}", "chosen": row["chosen"]} for number, row in enumerate(table)
    ]
    assert all(isinstance(row["chosen"], float) for row in written)
