"""The lab as a DataModule: all of it or nothing, made once."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from dpo_lightning.errors import InputError
from dpo_lightning.lab import LabDataModule, PolicyRecipe
from dpo_lightning.lab import datamodule as lab_module
from tests.helpers.runs import module, trainer

RECIPE = PolicyRecipe(hidden_size=16, layers=1, heads=2, texts=64)
SMALL = {"train_pairs": 32, "val_pairs": 8, "recipe": RECIPE, "batch_size": 8}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_run_finds_its_policy_there(tmp_path):
    lab = LabDataModule(str(tmp_path / "lab"), **SMALL)
    run = trainer(max_steps=2)
    run.fit(module(str(tmp_path / "lab/policy")), lab)  # loads what the data has made before
    assert run.global_step == 2
    rows = [json.loads(line) for line in (tmp_path / "lab/validation.jsonl").read_text().splitlines()]
    assert len(rows) == len(lab.prompts("val")) == 8


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_is_made_once_and_leaves_the_random_state(tmp_path, monkeypatch):
    root = tmp_path / "lab"
    torch.manual_seed(7)
    state = torch.get_rng_state()
    LabDataModule(str(root), **SMALL).prepare_data()
    assert torch.equal(torch.get_rng_state(), state)
    weights = AutoModelForCausalLM.from_pretrained(root / "policy").state_dict()

    def never(*args, **settings):
        raise AssertionError("fitted again")

    with monkeypatch.context() as patched:
        patched.setattr(lab_module, "fit_policy", never)
        LabDataModule(str(root), **SMALL).prepare_data()
        with pytest.raises(AssertionError, match="fitted again"):
            LabDataModule(str(root), **{**SMALL, "train_pairs": 40}).prepare_data()
    # the failure left the earlier lab whole
    kept = AutoModelForCausalLM.from_pretrained(root / "policy").state_dict()
    assert all(torch.equal(kept[name], value) for name, value in weights.items())
    assert [path.name for path in tmp_path.iterdir()] == ["lab"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_fitting_lowers_the_loss_on_the_worlds_text(tmp_path):
    """More text, a better model: its log-prob of held-out completions rises."""
    means = []
    for texts in (64, 1024):
        recipe = PolicyRecipe(hidden_size=16, layers=1, heads=2, texts=texts)
        lab = LabDataModule(str(tmp_path / str(texts)), **{**SMALL, "recipe": recipe})
        run = trainer(limit_val_batches=1)
        lab.prepare_data()
        (metrics,) = run.validate(module(str(tmp_path / f"{texts}/policy")), lab, verbose=False)
        means.append(metrics["val/logps/chosen"])
    assert means[1] > means[0] + 20


def test_another_directory_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(InputError, match="holds no lab"):
        LabDataModule(str(tmp_path), **SMALL).prepare_data()
    assert (tmp_path / "thesis.txt").exists()
