"""Wrong and odd configs of LLaMA-Factory: one line each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import LLAMA_FACTORY, llama_factory

ENTRY = LLAMA_FACTORY["dataset_dir"]["pairs"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stage": "sft"}, "which is fine-tuning: preferences are stage: dpo or kto"),
        ({"stage": "ppo"}, "which is PPO"),
        ({"stage": "rm"}, "which is reward modelling"),
        ({"stage": "orpo"}, "stage: orpo: preferences are"),
        ({"stage": None}, "stage: None"),
        ({"do_train": False}, "trains nothing by this config"),
        ({"model_name_or_path": ""}, "there is no model_name_or_path"),
        ({"dataset": None}, "there is no dataset"),
        ({"dataset": "pears"}, "dataset pears is not in dataset_info.json: did you mean pairs"),
        ({"dataset": {"pairs": 1}}, "names with commas between"),
        ({"dataset_dir": "nowhere"}, "there is no nowhere/dataset_info.json"),
        ({"dataset_dir": "REMOTE:me/sets"}, "download dataset_info.json"),
        ({"dataset_dir": {"pairs": "pairs.json"}}, "pairs must be a mapping"),
        ({"dataset_dir": {"pairs": {**ENTRY, "rankin": True}}}, "no field rankin: did you mean ranking"),
        ({"pref_loss": "dpo"}, "pref_loss: dpo is none of sigmoid"),
        ({"pref_beta": "a lot"}, "pref_beta must be a number"),
        ({"pref_beta": "${oc.env:BETA}"}, "pref_beta: "),
        ({"lora_rank": [8, 16]}, "lora_rank must be a whole number"),
        ({"finetuning_type": "qlora"}, "finetuning_type: qlora is none of lora, full"),
        ({"learning_rte": 1}, r"not known of LLaMA-Factory: learning_rte \(did you mean learning_rate"),
        ({"model_class": "llm"}, "v1 trainer"),
        ({"report_to": "trackio"}, "no logger for trackio"),
    ],
)
def test_one_line_says_what_is_wrong(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        llama_factory(**changes)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("text", "said"), [("{", "no JSON"), ("[]", "a mapping from names")])
def test_a_broken_list_of_sets(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text(text)
    with pytest.raises(InputError, match=said):
        llama_factory(dataset_dir=str(tmp_path))


def test_the_list_of_sets_is_read_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text(json.dumps({"pairs": ENTRY}))
    assert llama_factory(dataset_dir=str(tmp_path)).tree["data"]["dataset"].value == f"{tmp_path}/pairs.json"


def test_online_sets_are_names_of_the_hub() -> None:
    with pytest.raises(InputError, match="no `ranking: true`"):
        llama_factory(dataset="me/pairs", dataset_dir="ONLINE")
