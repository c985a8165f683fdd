"""The card beside an exported model."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from dpo_lightning.report.model_card import model_card

FACTS: dict[str, Any] = {
    "seed": 3,
    "step": 40,
    "model": {"name": "Qwen/Qwen2.5-0.5B", "local": False, "class": "Qwen2ForCausalLM", "lora": "LORA rank 8"},
    "objective": {"name": "IPO", "settings": {"beta": 0.2, "reference_free": None}},
    "reference": "AdapterOff()",
    "data": {"source": "/home/me/pairs.jsonl", "train": 1200, "held_out": 60, "fingerprint": "ab12"},
    "optimizer": {"name": "AdamW", "lr": 2e-5},
    "versions": {"torch": "2.9"},
}


def test_what_is_known_is_there_and_no_place_to_fill_in() -> None:
    card = model_card(FACTS, {"val/loss": 0.25, "train/loss": 0.5}, "out/model", adapter=True)

    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "peft",
        "base_model": "Qwen/Qwen2.5-0.5B",
        "pipeline_tag": "text-generation",
        "tags": ["dpo_lightning", "preference-optimization", "lora"],
    }
    for said in (
        "IPO(beta=0.2)",
        "1,200 to train on, 60 held out, fingerprint ab12",
        "AdamW, learning rate 2e-05, 40 steps",
        "| val/loss | 0.25 |",
        "AutoPeftModelForCausalLM.from_pretrained('model')",
    ):
        assert said in body, said
    for left_out in ("/home/me", "train/loss", "More Information Needed", "None"):
        assert left_out not in card, left_out


def test_a_model_of_a_directory_tells_nobody_where_that_is() -> None:
    card = model_card({"model": {"name": "/home/me/base"}}, {}, "m", adapter=False)
    assert "# base, trained with preferences" in card
    assert "base_model" not in card
    assert "/home" not in card
    assert "AutoModelForCausalLM" in card


def test_a_directory_is_no_name_of_the_hub_wherever_the_card_is_written() -> None:
    for model in ({"name": "model", "local": True}, {"name": "a/model"}, {"name": "a: b", "local": False}):
        assert "base_model" not in model_card({"model": model}, {}, "m", adapter=False)


@pytest.mark.parametrize(
    "bad",
    [3, "x", [1], {"name": 3, "lr": "x", "train": "many", "settings": 1, "lora": {}, "source": [], "local": "no"}],
)
def test_a_bad_record_costs_its_facts_alone(bad: Any) -> None:
    card = model_card({**dict.fromkeys(FACTS, bad), "versions": {}, "seed": 5}, {}, "m", adapter=False)
    assert "| seed | 5 |" in card
    assert "many" not in card


def test_what_others_wrote_is_text() -> None:
    card = model_card({"model": {"name": "/m/<script>|x"}}, {}, "m", adapter=False)
    assert "<script>" not in card
    assert "# &lt;script&gt;" in card
