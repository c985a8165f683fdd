"""Predicted rewards as a file."""

from __future__ import annotations

import json

from dpo_lightning.callbacks import WriteRewards
from tests.helpers.runs import data, module, trainer


def test_every_pair_is_written_once(tmp_path):
    model, path = module(), tmp_path / "out" / "rewards.jsonl"
    batches = trainer(callbacks=[WriteRewards(str(path))]).predict(model, data(tmp_path))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["pair_id"] for row in rows] == list(range(8))
    assert [row["chosen"] for row in rows] == [value for batch in batches for value in batch["chosen"].tolist()]
