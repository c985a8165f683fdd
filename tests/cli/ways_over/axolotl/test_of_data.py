"""Fields of data and objective that axolotl does not read in a preference run."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.ways_over.axolotl.of_data import RL
from tests.cli.ways_over.made import axolotl, told


def test_what_fine_tuning_alone_reads_is_told() -> None:
    said = told(axolotl(eot_tokens=["<|im_end|>"], train_on_inputs=True, sample_packing=False, group_by_length=None))
    assert said["eot_tokens"] == said["train_on_inputs"] == "read in fine-tuning alone"
    assert not {"sample_packing", "group_by_length"} & said.keys(), "they ask for nothing"


def test_of_the_block_trl_only_beta_is_read() -> None:
    said = told(axolotl(trl={"beta": 0.3, "num_generations": 8}))
    assert said["trl.num_generations"] == "read with rl: grpo alone"
    assert "trl.beta" not in said


@pytest.mark.parametrize("rl", RL)
def test_each_way_of_training_on_preferences_is_converted(rl: str) -> None:
    types = {"kto": "chatml.intel", "orpo": "chat_template.argilla"}
    sets = [{"path": "rows.jsonl", "type": types.get(rl, "chat_template.default")}]
    assert axolotl(rl=rl, simpo_gamma=0.5, datasets=sets).tree["model"]["objective"]
