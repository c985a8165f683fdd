"""Wrong and odd configs of axolotl: one line each."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import axolotl

SET = {"path": "rows.jsonl", "type": "chatml.intel"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rl": None}, "without `rl` axolotl fine-tunes"),
        ({"rl": "grpo"}, "`dpo-lightning rounds` is the way here"),
        ({"rl": "ebft"}, "trains on its own samples"),
        ({"rl": "dop"}, "rl: dop is none of dpo, ipo, kto, orpo, simpo"),
        ({"rl": ["dpo"]}, "rl: "),
        ({"rl": True}, "rl: True is none of"),
        ({"base_model": None}, "there is no base_model"),
        ({"datasets": []}, "there are no `datasets`"),
        ({"datasets": SET}, "datasets must be a list of mappings"),
        ({"datasets": ["rows.jsonl"]}, r"datasets\[0\] must be a mapping"),
        ({"datasets": [{"type": "chatml.intel"}]}, r"datasets\[0\]: there is no path"),
        ({"datasets": [{**SET, "field_chose": "x"}]}, "did you mean field_chosen"),
        ({"datasets": [{**SET, "type": ["chatml"]}]}, "type must be a text or a mapping"),
        ({"datasets": [{**SET, "type": {"field_promt": "q"}}]}, "did you mean field_prompt"),
        ({"datasets": [{**SET, "roles": {"user": "human"}}]}, "the list of its names"),
        ({"special_tokens": ["<pad>"]}, "special_tokens must be a mapping"),
        ({"trl": {"betta": 0.1}}, "trl: no field betta: did you mean beta"),
        ({"trl": {"beta": 0.1}, "rl_beta": 0.2}, "axolotl takes trl.beta"),
        ({"rl": "kto", "dpo_loss_type": ["ipo"]}, "axolotl refuses them with kto"),
        ({"micro_batch_size": [2]}, "micro_batch_size must be a whole number"),
        ({"learning_rate": "${LR}"}, "learning_rate: "),
        ({"sequence_len": "4k"}, "sequence_len must be a whole number"),
        ({"lora_rr": 8}, r"not known of axolotl: lora_rr \(did you mean lora_r"),
        ({"bf16": None}, "bf16 is null"),
        ({"streaming": True}, "set data.streaming"),
        ({"pretraining_dataset": [{"path": "c4"}]}, "this is pretraining"),
    ],
)
def test_one_line_says_what_is_wrong(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        axolotl(**changes)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("config a.yaml: ")


def test_a_null_is_what_axolotl_takes_without_it() -> None:
    draft = axolotl(micro_batch_size=None, plugins=None, dataset_prepared_path=None, wandb_project=None)
    assert draft.tree["data"]["batch_pairs"].value == 1


def test_an_unknown_null_is_not_passed_over() -> None:
    with pytest.raises(InputError, match="micro_batch_sise"):
        axolotl(micro_batch_sise=None)


def test_the_old_name_of_beta() -> None:
    assert axolotl(dpo_beta=0.3).tree["model"]["objective"]["init_args"]["beta"].value == 0.3
