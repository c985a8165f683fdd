"""The card beside an exported model."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from dpo_lightning.report.model_card import Card, model_card

FACTS: dict[str, Any] = {
    "seed": 3,
    "step": 40,
    "model": {"name": "Qwen/Qwen2.5-0.5B", "local": False, "class": "Qwen2ForCausalLM", "lora": "LORA rank 8"},
    "objective": {"name": "IPO", "settings": {"beta": 0.2, "reference_free": None}},
    "reference": "FrozenCopy(checkpoint=/home/me/base)",
    "data": {"source": "/home/me/pairs.jsonl", "train": 1200, "held_out": 60, "fingerprint": "ab12"},
    "optimizer": {"name": "AdamW", "lr": 2e-5},
    "versions": {"torch": "2.9"},
}


def test_what_is_known_is_there_and_no_place_to_fill_in() -> None:
    card = model_card(Card(FACTS, {"val/loss": 0.25, "train/loss": 0.5}), "out/model", adapter=True)

    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "peft",
        "base_model": "Qwen/Qwen2.5-0.5B",
        "pipeline_tag": "text-generation",
        "tags": ["dpo_lightning", "preference-optimization", "lora"],
        "model-index": [
            {
                "name": "model",
                "results": [
                    {
                        "task": {"type": "text-generation"},
                        "dataset": {"name": "pairs.jsonl", "type": "pairs.jsonl"},
                        "metrics": [{"type": "loss", "value": 0.25, "name": "val/loss"}],
                    }
                ],
            }
        ],
    }
    for said in (
        "IPO(beta=0.2)",
        "FrozenCopy(checkpoint=base)",
        "1,200 to train on, 60 held out, fingerprint ab12",
        "AdamW, learning rate 2e-05, 40 steps",
        "| val/loss | 0.25 |",
        "AutoPeftModelForCausalLM.from_pretrained('model')",
    ):
        assert said in body, said
    for left_out in ("/home/me", "train/loss", "More Information Needed", "None"):
        assert left_out not in card, left_out


def test_data_of_the_hub_works_and_samples_are_there() -> None:
    facts = {
        **FACTS,
        "data": {"source": "me/pairs", "hub": ["me/pairs", "a path/of mine"], "train": 9},
        "objective": {"name": "DPO", "settings": {}, "cited": ["DPO (a*b), arXiv:2305.18290", 3]},
    }
    metrics = {"val/rewards/accuracies": 0.75, "val/loss": float("nan")}
    samples = [
        {"prompt": "say [hi]", "policy": ["hello\n# there"], "reference": None},
        {"prompt": "long", "policy": ["x" * 1000], "reference": ["other"]},
        {"prompt": 3, "policy": ["left out"]},
        {"prompt": "no text", "policy": []},
    ]
    card = model_card(Card(facts, metrics, samples), "m", adapter=False)

    front = yaml.safe_load(card.split("---\n", 2)[1])
    assert front["datasets"] == ["me/pairs"]
    (result,) = front["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "value": 0.75, "name": "val/rewards/accuracies"}]
    assert result["dataset"]["type"] == "me/pairs"
    assert "* **prompt:** say \\[hi\\]\n    * policy: hello \\# there\n* **prompt:** long" in card
    assert "    * reference: other" in card
    assert "x" * 400 not in card
    assert "left out" not in card
    assert "* DPO (a\\*b), [arXiv:2305.18290](https://arxiv.org/abs/2305.18290)\n" in card


def test_a_model_of_a_directory_tells_nobody_where_that_is() -> None:
    card = model_card(Card({"model": {"name": "/home/me/base"}}), "m", adapter=False)
    assert "# base, trained with preferences" in card
    assert "base_model" not in card
    assert "/home" not in card
    assert "AutoModelForCausalLM" in card


def test_a_directory_is_no_name_of_the_hub_wherever_the_card_is_written() -> None:
    for model in ({"name": "model", "local": True}, {"name": "a/model"}, {"name": "a: b", "local": False}):
        assert "base_model" not in model_card(Card({"model": model}), "m", adapter=False)


@pytest.mark.parametrize(
    "bad",
    [3, "x", [1], {"name": 3, "lr": "x", "train": "many", "settings": 1, "lora": {}, "source": [], "local": "no"}],
)
def test_a_bad_record_costs_its_facts_alone(bad: Any) -> None:
    card = model_card(Card({**dict.fromkeys(FACTS, bad), "versions": {}, "seed": 5}), "m", adapter=False)
    assert "| seed | 5 |" in card
    assert "many" not in card


def test_what_others_wrote_is_text() -> None:
    card = model_card(Card({"model": {"name": "/m/<script>|x"}}), "m", adapter=False)
    assert "<script>" not in card
    assert "# &lt;script&gt;" in card
