"""Metadata of a model card."""

from __future__ import annotations

import pytest
import yaml
from huggingface_hub import ModelCard

from dpo_lightning.report.card_metadata import base_name, data_name, metadata, without_places


def test_the_client_of_the_hub_reads_what_was_written() -> None:
    facts = {"model": {"name": "me/base", "local": False}, "data": {"source": "/x/pairs.jsonl", "hub": []}}
    text = metadata(facts, {"val/rewards/accuracies": 0.5, "val/loss": float("inf")}, "m", adapter=False)
    card = ModelCard(f"---\n{text}\n---\n# m")
    assert card.data.base_model == "me/base"
    assert card.data.library_name == "transformers"
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("accuracy", 0.5, "pairs.jsonl")


def test_what_is_not_known_is_left_out() -> None:
    assert set(yaml.safe_load(metadata({}, {}, "m", adapter=True))) == {"library_name", "pipeline_tag", "tags"}


def test_names_of_the_hub_and_of_directories() -> None:
    assert base_name({"model": {"name": "/home/me/base", "local": True}}) == "base"
    assert base_name({"model": {"name": "me/base", "local": False}}) == "me/base"
    assert base_name({"model": {"class": "Llama"}}) == "Llama"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("FrozenCopy(checkpoint=/home/me/base)", "FrozenCopy(checkpoint=base)"),
        (
            "Precomputed(source=FrozenCopy(checkpoint=/home/a client/base/))",
            "Precomputed(source=FrozenCopy(checkpoint=base))",
        ),
        (
            "FrozenCopy(checkpoint=../client/base, model_kwargs={'x': '~/y/z'})",
            "FrozenCopy(checkpoint=base, model_kwargs={'x': 'z'})",
        ),
        ("FrozenCopy(checkpoint=s3://bucket/client/base)", "FrozenCopy(checkpoint=base)"),
        ("FrozenCopy(checkpoint=runs/client/base)", "FrozenCopy(checkpoint=base)"),
        ("FrozenCopy(checkpoint=Qwen/Qwen2.5-0.5B)", "FrozenCopy(checkpoint=Qwen/Qwen2.5-0.5B)"),
        ("DPO(beta=0.1, weight=1 / 2)", "DPO(beta=0.1, weight=1 / 2)"),
    ],
)
def test_settings_in_words_tell_no_path(written: str, said: str) -> None:
    assert without_places(written) == said


def test_of_several_data_sets_each_is_named_and_none_is_placed() -> None:
    source = "/home/me/a.jsonl, me/pairs, https://host/b.jsonl?token=hf_x"
    facts = {"data": {"source": source, "hub": ["me/pairs", "https://host/b.jsonl?token=hf_x"]}}
    assert data_name(facts) == "a.jsonl, me/pairs, b.jsonl"
    assert data_name({}) == ""
