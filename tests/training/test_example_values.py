"""Values of each example, from steps over batches of every kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dpo_lightning import KTO, SFT, PlackettLuceDPO, PreferenceModule, SimPO, TokenizedExample
from dpo_lightning.batch import collate_padded, collate_tree
from dpo_lightning.training.example_values import example_values
from tests.helpers.tiny import PAIRS, labelled_of, tiny_llama


def step(objective: Any, examples: list[TokenizedExample], collate: Any = collate_tree) -> dict[str, Any]:
    """What a validation step returns, and the means that it adds to."""
    model = PreferenceModule(tiny_llama(), objective)
    model.configure_model()
    model.eval()
    with torch.no_grad():
        found = model.validation_step(collate(examples), 0)
    assert found is not None
    means = {name: value.item() for name, value in model.eval_metrics.compute().items()}
    return {"found": {name: value.tolist() for name, value in found.items()}, "means": means}


@pytest.mark.parametrize("collate", [collate_tree, collate_padded])
@pytest.mark.parametrize("objective", [None, SFT()])
def test_of_pairs_each_value_is_one_of_the_mean(objective: Any, collate: Any) -> None:
    result = step(objective or SimPO(), PAIRS, collate)
    found, means = result["found"], result["means"]
    assert found["pair_id"] == [0, 1, 2]
    assert found["chosen_tokens"] == [4, 2, 4]
    assert found["rejected_tokens"] == [3, 5, 2]
    for name in ("loss", "rewards/chosen", "rewards/rejected", "logps/chosen"):
        assert sum(found[name]) / 3 == pytest.approx(means[name], rel=1e-5), name
    assert "logratios/chosen" not in found


def test_of_labelled_completions_there_is_one_each():
    examples = [labelled_of(pair) for pair in PAIRS]
    two = examples[1]._replace(
        completion_ids=[*examples[1].completion_ids, [5, 2]], labels=[*(examples[1].labels or ()), False]
    )
    found = step(KTO(), [examples[0], two, examples[2]])["found"]
    assert found["pair_id"] == [0, 1, 2, 1]
    assert found["tokens"] == [4, 2, 4, 2]
    assert found["desirable"] == [False, True, True, False]
    assert {len(values) for values in found.values()} == {4}
    assert {"loss", "rewards", "logps", "logratios"} <= found.keys()


def test_of_a_list_there_are_its_best_and_its_worst():
    ranked = [
        TokenizedExample(7, [1, 5], [[8, 2], [9, 9, 2], [11, 2]], columns={"score": [1.0, 3.0, 2.0]}),
        TokenizedExample(8, [1, 6], [[8, 2], [9, 2]], columns={"score": [1.0, 1.0]}),
    ]
    found = step(PlackettLuceDPO(), ranked)["found"]
    assert found["pair_id"] == [7, 8]
    assert found["logratios/chosen"][0] == pytest.approx(0, abs=1e-5)
    assert found["logps/chosen"][1] != found["logps/chosen"][1]  # equal scores: no best one
    assert "chosen_tokens" not in found


def test_values_of_something_else_are_left_out():
    batch = collate_tree(PAIRS)
    watched = {"loss": torch.ones(3), "of_prompts": torch.ones(2), "of_all": torch.tensor(1.0)}
    assert example_values(batch, watched).keys() == {"pair_id", "chosen_tokens", "rejected_tokens", "loss"}
