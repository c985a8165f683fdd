"""docs/recipes.md says what the recipes and `plan` say now; the sizes behind it are those of the models."""

from __future__ import annotations

import re
import sys

import pytest

from dpo_lightning.cli.main import main
from dpo_lightning.errors import InputError
from dpo_lightning.estimate import model_shape
from dpo_lightning.policy.prepare import PolicyOptions
from tools.docs import recipes

# Parameters in 1e9, as the model cards have them.
BILLIONS = {
    "EleutherAI/pythia-2.8b": 2.78,
    "HuggingFaceTB/SmolLM3-3B-checkpoints": 3.08,
    "Qwen/Qwen2.5-1.5B-Instruct": 1.54,
    "alignment-handbook/zephyr-7b-sft-full": 7.24,
    "allenai/Llama-3.1-Tulu-3-8B-SFT": 8.03,
    "allenai/OLMo-2-1124-7B-SFT": 7.30,
    "allenai/Olmo-3-7B-Instruct-SFT": 7.30,
    "allenai/Olmo-3-7B-Think-SFT": 7.30,
    "meta-llama/Llama-3.1-8B-Instruct": 8.03,
    "meta-llama/Meta-Llama-3-8B-Instruct": 8.03,
    "microsoft/phi-2": 2.78,
    "princeton-nlp/Llama-3-Base-8B-SFT": 8.03,
}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_document_is_up_to_date():
    assert recipes.DOCUMENT.read_text(encoding="utf-8") == recipes.document(), "run python -m tools.docs.recipes"


def test_each_model_of_a_recipe_has_its_sizes():
    assert (
        {recipe["model"]["policy"] for recipe in recipes.recipes().values()} == set(BILLIONS) == set(recipes.shapes())
    )
    for name, billions in BILLIONS.items():
        with recipes.shape_directory(name) as folder:
            shape = model_shape(folder, PolicyOptions())
        assert round(shape.parameters / 1e9, 2) == pytest.approx(billions, abs=0.011), name
        assert recipes.shapes()[name]["source"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_plan_prints_memory_and_time_of_a_recipe(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    monkeypatch.setenv("COLUMNS", "200")
    name = "olmo3_7b_think"
    recipe = recipes.recipes()[name]
    with recipes.shape_directory(recipe["model"]["policy"]) as folder:
        main(["plan", "--config", str(recipes.RECIPES / f"{name}.yaml"), "--devices=8", f"--model.policy={folder}"])
    table = capsys.readouterr().out
    cells = {line.split("│")[1].strip(): line.split("│")[2:-1] for line in table.splitlines() if line[:1] == "│"}
    assert "reference Precomputed" in table
    assert cells["pairs/step"][1].strip() == "128"
    plan = recipes.planned(name)
    assert float(cells["peak, of 80"][1]) == pytest.approx(plan.gigabytes, abs=0.05)
    seconds = float(cells["s computing"][1].replace(",", "")) + float(cells["s sending"][1])
    assert seconds == pytest.approx(plan.seconds, abs=0.02)


def test_every_recipe_of_the_table_fits_its_card():
    rows = re.findall(r"^\| \[`(\w+)`\].* (\d) x (\w+) \| (\d+) \|", recipes.DOCUMENT.read_text("utf-8"), re.MULTILINE)
    assert [name for name, *_ in rows] == list(recipes.recipes())
    assert all(int(gigabytes) < 0.9 * {"H100": 80, "RTX4090": 24}[card] for _, _, card, gigabytes in rows)


def test_a_model_that_is_not_there_is_told_what_is_enough(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])

    def refuse(name: str, options: PolicyOptions) -> None:
        raise InputError(f"model {name!r}: it is not there")

    monkeypatch.setattr("dpo_lightning.cli.commands.plan.model_shape", refuse)
    with pytest.raises(SystemExit) as left:
        main(["plan", "--config", str(recipes.RECIPES / "tulu3_8b.yaml")])
    line = str(left.value.code)
    assert line.startswith("error: model 'allenai/Llama-3.1-Tulu-3-8B-SFT': it is not there;")
    assert line.endswith("a directory with its config.json will do: --model.policy=DIR")
