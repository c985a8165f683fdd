"""The lab as a DataModule: all of it or nothing, made once."""

from __future__ import annotations

import json
import logging
import os
import statistics
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from torch.optim import AdamW
from transformers import AutoModelForCausalLM

from dpo_lightning.errors import InputError
from dpo_lightning.lab import LabDataModule, PolicyRecipe, true_reward
from dpo_lightning.lab import datamodule as lab_module
from dpo_lightning.losses import DPO, AllPairs, PlackettLuceDPO
from dpo_lightning.policy.sampling import sample_tokens
from dpo_lightning.training.schedules import Cosine
from tests.helpers.ranks import succeed
from tests.helpers.resumable import in_processes
from tests.helpers.runs import module, trainer

RECIPE = PolicyRecipe(hidden_size=16, layers=1, heads=2, texts=64)
SMALL = {"train_pairs": 32, "val_pairs": 8, "recipe": RECIPE, "batch_pairs": 8}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_run_finds_its_policy_there(tmp_path, caplog):
    lab = LabDataModule(str(tmp_path / "lab"), **SMALL)
    run = trainer(max_steps=2)
    with caplog.at_level(logging.INFO):
        run.fit(module(str(tmp_path / "lab/policy")), lab)  # loads what the data has made before
    assert run.global_step == 2
    assert "32 pairs, 32 kept" in caplog.text
    assert "not read" not in caplog.text
    rows = [json.loads(line) for line in (tmp_path / "lab/validation.jsonl").read_text().splitlines()]
    assert len(rows) == len(lab.prompts("val")) == 8


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_is_made_once_and_leaves_the_random_state(tmp_path, monkeypatch):
    root = tmp_path / "lab"
    torch.manual_seed(7)
    # Type checks of the tests draw from Python's own `random`, of which nothing can be said here.
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    LabDataModule(str(root), **SMALL).prepare_data()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
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


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_equal_settings_make_equal_labs(tmp_path):
    files = []
    for name in ("a", "b"):
        torch.manual_seed(len(name) + len(files))
        LabDataModule(str(tmp_path / name), **SMALL).prepare_data()
        paths = [path for path in (tmp_path / name).rglob("*") if path.suffix in (".jsonl", ".safetensors")]
        files.append({path.name: path.read_bytes() for path in paths})
    assert files[0].keys() == {"train.jsonl", "validation.jsonl", "model.safetensors"}
    assert files[0] == files[1]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_interrupted_making_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(lab_module, "fit_policy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        LabDataModule(str(tmp_path / "lab"), **SMALL).prepare_data()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def lists_of_four(tmp_path_factory: pytest.TempPathFactory) -> LabDataModule:
    """A policy that mostly writes whole sentences: with 2,400 texts it does not, and no preference mends that."""
    root = tmp_path_factory.mktemp("lists") / "lab"
    recipe = PolicyRecipe(hidden_size=32, layers=1, texts=3200)
    lab = LabDataModule(str(root), train_pairs=320, val_pairs=32, recipe=recipe, completions=4, batch_pairs=8)
    lab.prepare_data()
    lab.setup("validate")
    return lab


def worth(policy: torch.nn.Module, lab: LabDataModule) -> float:
    """Mean true reward of what the policy writes for held-out prompts."""
    prompts = [tuple(ids) for ids in lab.prompts("val")]
    sampled = sample_tokens(
        policy,
        prompts,
        lab.tokenizer.eos_token_id,
        samples_per_prompt=4,
        max_new_tokens=60,
        temperature=1.0,
        seed=0,
        prompts_at_once=32,
    )
    read = partial(lab.tokenizer.decode, skip_special_tokens=True)
    pairs = zip(prompts, sampled, strict=True)
    return statistics.fmean(true_reward(read(prompt), read(each)) for prompt, several in pairs for each in several)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("objective", [PlackettLuceDPO(0.3), AllPairs(DPO(0.3))], ids=lambda each: type(each).__name__)
def test_lists_raise_the_true_reward(lists_of_four, objective):
    """Some 2.5 more, where the starting policy has -2.3; the standard error is a fifth."""
    run = trainer(max_epochs=1, max_steps=-1, gradient_clip_val=1.0, limit_val_batches=0)
    trained = module(
        str(lists_of_four.root / "policy"),
        objective=objective,
        optimizer=partial(AdamW, lr=2e-3, weight_decay=0.0),
        schedule=Cosine(warmup=0.1),
    )
    run.fit(trained, lists_of_four)
    assert worth(trained.policy, lists_of_four) > worth(trained.policy_again(), lists_of_four) + 1


def train_on_two(rank: int, path: Path) -> None:
    os.chdir(path)
    datasets.config.HF_DATASETS_CACHE = path / "cache"
    recipe = PolicyRecipe(hidden_size=16, layers=1, heads=2, texts=32)
    lab = LabDataModule("lab", train_pairs=8, val_pairs=4, recipe=recipe, batch_pairs=4)
    trainer(devices=2, strategy="ddp", max_steps=1).fit(module("lab/policy"), lab)
    print("trained")


def test_two_processes_wait_for_the_lab(tmp_path):
    """A Trainer inside a distributed run would wait for the processes that wait for it."""
    succeed(in_processes(2, train_on_two, tmp_path, output=tmp_path), tmp_path)
    assert all("trained" in (tmp_path / f"output-{rank}.txt").read_text() for rank in range(2))
    assert (tmp_path / "lab/policy/model.safetensors").is_file()


def test_another_directory_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(InputError, match="holds no lab"):
        LabDataModule(str(tmp_path), **SMALL).prepare_data()
    assert (tmp_path / "thesis.txt").exists()


def test_wrong_sizes_are_refused():
    with pytest.raises(InputError, match="val_pairs must be at least 1"):
        LabDataModule("lab", val_pairs=0)


def test_batches_are_chosen_as_for_any_data():
    assert (LabDataModule("lab").batching.batch_pairs, LabDataModule("lab").batching.batch_tokens) == (16, None)
    by_tokens = LabDataModule("lab", batch_tokens=512, layout="tree")
    assert (by_tokens.batching.batch_pairs, by_tokens.batching.batch_tokens, by_tokens.layout) == (None, 512, "tree")
    with pytest.raises(InputError, match="give one of them"):
        LabDataModule("lab", batch_pairs=4, batch_tokens=512)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lists_of_four_have_their_true_rewards(tmp_path, monkeypatch):
    def no_fit(recipe, tokenizer, texts, directory, *, progress_bar):
        tokenizer.save_pretrained(directory)

    monkeypatch.setattr(lab_module, "fit_policy", no_fit)
    lab = LabDataModule(str(tmp_path / "lab"), completions=4, **{**SMALL, "train_pairs": 12})
    lab.prepare_data()
    lab.setup("fit")
    rows = [json.loads(line) for line in (tmp_path / "lab/train.jsonl").read_text().splitlines()]
    batches = list(lab.train_dataloader())
    assert sum(batch.examples for batch in batches) == len(rows) == 12
    for batch in batches:
        assert set(batch.completions) == {4}
        scores = batch.columns["score"].view(4, -1).T.tolist()
        assert scores == [sorted(rows[row]["true_rewards"], reverse=True) for row in batch.row_ids.tolist()]
    with pytest.raises(InputError, match=r"^data\.completions must be at least 2, got 1$"):
        LabDataModule(str(tmp_path / "other"), completions=1)
