"""The pairs that are most wrong; their texts in a run are in `test_held_out_scores.py`."""

from __future__ import annotations

from torch.utils.data import DataLoader

from dpo_lightning.callbacks.worst_pairs import examples_of, with_texts, worst_pairs
from tests.helpers.runs import data, trainer
from tests.helpers.tiny import PAIRS


def test_only_negative_margins_are_wrong():
    found = [
        {"pair_id": number, "rewards/chosen": reward, "rewards/rejected": 0.0}
        for number, reward in enumerate([-1.0, 2.0, float("nan"), -3.0])
    ]
    assert [row["pair_id"] for row in worst_pairs(found)] == [3, 0]
    assert worst_pairs([{"pair_id": 1, "loss": 2.0}]) == []
    assert len(worst_pairs(found[:1] * 30)) == 20
    assert with_texts(found[:1], None, [None], ()) == found[:1]


def test_examples_are_those_of_the_loaders(tmp_path):
    pairs = data(tmp_path)
    pairs.trainer = trainer()
    pairs.prepare_data()
    pairs.setup("validate")
    own, other = pairs.val_dataloader(), DataLoader(PAIRS)  # type: ignore[arg-type]
    first, second, third = examples_of({"a": own, "b": [other, own]})
    assert first is not None
    assert first[3].prompt_ids == pairs.examples("val")[3].prompt_ids
    assert (second, third) == (None, first)
