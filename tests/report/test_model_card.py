"""The card beside an exported model."""

from __future__ import annotations

from typing import Any

import yaml

from dpo_lightning.report.model_card import model_card

FACTS: dict[str, Any] = {
    "seed": 3,
    "step": 40,
    "model": {"name": "Qwen/Qwen2.5-0.5B", "class": "Qwen2ForCausalLM", "lora": "LORA rank 8"},
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


def test_what_others_wrote_is_text() -> None:
    card = model_card({"model": {"name": "/m/<script>|x"}}, {}, "m", adapter=False)
    assert "<script>" not in card
    assert "# &lt;script&gt;" in card
