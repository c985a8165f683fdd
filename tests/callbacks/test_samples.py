"""Samples before and after, with a known reward."""

from __future__ import annotations

import errno
import os
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from dpo_lightning.callbacks import SampleTable
from dpo_lightning.errors import InputError
from dpo_lightning.policy.sampling import sample_completions
from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import tiny_llama, tiny_tokenizer


def vowels(prompt: str, completion: str) -> float:
    return float(sum(completion.count(letter) for letter in "aeiou"))


def test_the_table_is_printed_and_written(tmp_path, capsys):
    table = SampleTable(str(tmp_path / "samples.md"), prompts=4, samples_per_prompt=3, max_new_tokens=8, reward=vowels)
    trainer(callbacks=[table]).fit(module(lr=1e-2), data(tmp_path))
    text = (tmp_path / "samples.md").read_text()
    assert text.count("* *before*: [") == text.count("* *after*: [") == 12
    assert text.count("\n## the ") == 4
    assert "mean true reward of 12 fresh samples" in text
    assert "Samples before and after" in capsys.readouterr().out


@pytest.mark.parametrize("refusal", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_is_full_costs_the_file_and_not_the_run(tmp_path, monkeypatch, refusal):
    fit = trainer(max_steps=1, callbacks=[SampleTable(str(tmp_path / "samples.md"), 1, max_new_tokens=2)])
    rows = data(tmp_path)
    monkeypatch.setattr(os, "fsync", refusing := Mock(side_effect=OSError(refusal, os.strerror(refusal))))
    with pytest.warns(UserWarning, match=rf"samples.md could not be written: {os.strerror(refusal)}: the run goes on"):
        fit.fit(module(), rows)
    assert refusing.called
    assert fit.state.finished
    assert not [path for path in tmp_path.iterdir() if "samples" in path.name]


def test_a_resumed_run_shows_the_samples_of_its_beginning(tmp_path):
    texts = []
    for steps, resumed in ((2, None), (4, str(tmp_path / "step=2.ckpt"))):
        table = SampleTable(str(tmp_path / f"{steps}.md"), prompts=2, samples_per_prompt=2, max_new_tokens=8)
        run = trainer(callbacks=[table], max_steps=steps)
        run.fit(module(lr=0.05), data(tmp_path), ckpt_path=resumed)
        texts.append((tmp_path / f"{steps}.md").read_text())
        if resumed is None:
            run.save_checkpoint(tmp_path / "step=2.ckpt")
    before = [[line for line in text.splitlines() if "*before*" in line] for text in texts]
    assert before[0] == before[1] != []
    assert texts[0] != texts[1]


def test_other_prompts_on_resume_are_sampled_anew(tmp_path):
    for steps, prompts in ((1, 2), (2, 3)):
        table = SampleTable(str(tmp_path / "samples.md"), prompts, samples_per_prompt=1, max_new_tokens=2)
        run = trainer(callbacks=[table], max_steps=steps, limit_val_batches=0)
        run.fit(module(), data(tmp_path), ckpt_path=str(tmp_path / "step=1.ckpt") if steps == 2 else None)
        run.save_checkpoint(tmp_path / "step=1.ckpt")
    assert (tmp_path / "samples.md").read_text().count("* *before*: ") == 3


def test_samples_depend_on_the_seed_alone():
    model = tiny_llama()

    def sample(seed: int) -> list[list[str]]:
        return sample_completions(
            model, tiny_tokenizer(), [[1, 5], [1, 6, 7]],
            samples_per_prompt=2, max_new_tokens=6, temperature=1.0, seed=seed,
        )  # fmt: skip

    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = sample(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert sample(0) == first
    assert sample(1) != first


def test_sampling_follows_the_models_distribution():
    """The first sampled token's frequencies against the softmax, by a chi-square statistic."""
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    with torch.no_grad():
        expected = model(torch.tensor([[1, 5]])).logits[0, -1].softmax(-1)
    count = 4000
    (texts,) = sample_completions(
        model, tokenizer, [[1, 5]], samples_per_prompt=count, max_new_tokens=1, temperature=1.0, seed=0
    )
    seen = torch.bincount(torch.tensor([tokenizer(text)["input_ids"][0] for text in texts if text]), minlength=64)
    ids = torch.arange(64)
    plain = (ids > 2) & (ids < len(tokenizer))  # the rest decodes to nothing
    plain &= expected * count > 5
    statistic = ((seen - expected * count) ** 2 / (expected * count))[plain].sum()
    assert statistic < 2 * plain.sum()


def test_modes_are_restored(tmp_path):
    model = module()
    table = SampleTable(str(tmp_path / "samples.md"), prompts=1, samples_per_prompt=1, max_new_tokens=2)
    trainer(callbacks=[table]).fit(model, data(tmp_path))
    assert model.policy.training


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_without_a_preference_data_module_it_says_so(tmp_path):
    source = data(tmp_path)
    source.setup()
    table = SampleTable(str(tmp_path / "samples.md"))
    with pytest.raises(ValueError, match="takes its prompts from a PreferenceDataModule"):
        trainer(callbacks=[table]).fit(module(), source.train_dataloader())


@pytest.mark.parametrize("given", ["length", 1.0])
def test_a_reward_that_is_no_function_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"^SampleTable\.reward is a function of prompt and completion, got"):
        SampleTable("samples.md", reward=given)
