"""Samples while training, from policy and reference, in a run that is the same as without them."""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.optim import SGD

from dpo_lightning import AdapterOff, FrozenAdapter, FrozenCopy, LoRA, Precomputed
from dpo_lightning.callbacks import EMAReference, SampleTable
from dpo_lightning.errors import InputError
from dpo_lightning.losses import SFT
from dpo_lightning.policy.sampling import sample_completions
from dpo_lightning.report.record import RunRecord, read_rows
from tests.helpers.runs import data, fit, module, saved_model, trainer, write_rows
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

SMALL: dict[str, Any] = {"prompts": 3, "samples_per_prompt": 2, "max_new_tokens": 5}
GREEDY: dict[str, Any] = {"temperature": 0, "max_new_tokens": 6, "samples_at_once": 8}


def vowels(prompt: str, completion: str) -> float:
    return float(sum(completion.count(letter) for letter in "aeiou"))


def run(path, model=None, steps=4, table=None, resume=None, **settings):
    """A fit with a run's directory, and the rows of its record."""
    table = table or SampleTable(**SMALL, every_n_steps=2)
    logger = CSVLogger(path, name="", version=settings.pop("version", None))
    rows = settings.pop("rows", None) or data(path)
    callbacks = [table, *settings.pop("callbacks", [])]
    running = trainer(callbacks=callbacks, max_steps=steps, logger=logger, **settings)
    running.fit(model or module(lr=0.05), rows, ckpt_path=resume)
    return running, read_rows(RunRecord(path / f"version_{logger.version}").samples)


def of(rows, step, name):
    return [row[name] for row in rows if row["step"] == step]


def test_the_table_is_printed_written_and_recorded(tmp_path, capsys):
    table = SampleTable(prompts=4, samples_per_prompt=3, max_new_tokens=8, reward=vowels, shown=2, every_n_steps=3)
    _, rows = run(tmp_path, table=table)
    text, printed = (tmp_path / "version_0/samples.md").read_text(), capsys.readouterr().out
    assert text.startswith("# Samples before training and after 4 steps\n\nmean reward of 12 fresh samples")
    assert [text.count(f"* *{name}*: [") for name in ("before, reference", "policy")] == [12] * 2
    assert text.count("\n## ") == 4
    for step in (3, 4):
        assert f"Samples after step {step}: 2 of 4 prompts" in printed
    assert printed.count("prompt     the ") == 4
    assert [row["step"] for row in rows] == [0] * 4 + [3] * 4 + [4] * 4
    assert all(row["rewards"]["policy"] == [vowels("", each) for each in row["policy"]] for row in rows)


def test_without_an_interval_there_are_start_and_end(tmp_path):
    _, rows = run(tmp_path, table=SampleTable(str(tmp_path / "own.md"), **SMALL))
    assert [row["step"] for row in rows] == [0] * 3 + [4] * 3
    assert (tmp_path / "own.md").exists()
    assert not (tmp_path / "version_0/samples.md").exists()


def greedy_of(model, rows):
    prompts = [tiny_tokenizer()(row["prompt"])["input_ids"] for row in rows]
    settings = {"samples_per_prompt": 1, "max_new_tokens": 6, "temperature": 0.0, "seed": 0}
    return sample_completions(model, tiny_tokenizer(), prompts, **settings)


REFERENCES = {
    "copy": {},
    "other": {"reference": "other", "step_zero_check": False},
    "given": {"reference": tiny_llama(3), "step_zero_check": False},
    "adapter off": {"lora": LoRA(r=4), "reference": AdapterOff()},
    "adapter": {"lora": LoRA(r=4), "reference": FrozenAdapter()},
}


@pytest.mark.parametrize("case", REFERENCES)
def test_the_samples_of_the_reference_are_those_of_its_model_and_stay(tmp_path, case):
    settings, expected = dict(REFERENCES[case]), tiny_llama()
    if case in ("other", "given"):
        expected = tiny_llama(3)
    if case == "other":
        settings["reference"] = FrozenCopy(saved_model(tmp_path / "other", seed=3))
    table = SampleTable(prompts=4, every_n_steps=2, **GREEDY)
    model = module(lr=0.1, **settings)
    _, rows = run(tmp_path, model, table=table)
    for step in (0, 2, 4):
        assert of(rows, step, "reference") == greedy_of(expected, rows[:4])
    assert of(rows, 4, "policy") == greedy_of(model.policy, rows[:4]) != of(rows, 0, "policy")
    assert of(rows, 0, "policy") == greedy_of(tiny_llama(), rows[:4])


def test_a_fixed_reference_is_sampled_once_and_a_moving_one_each_time(tmp_path, monkeypatch):
    for name, callbacks, times in (("fixed", [], 1), ("moving", [EMAReference(decay=0.5)], 3)):
        model, seen = module(lr=0.1), []
        own = SampleTable(prompts=3, every_n_steps=2, **GREEDY)
        monkeypatch.setattr(own, "_of", partial(_noted, own._of, seen))
        (tmp_path / name).mkdir()
        _, rows = run(tmp_path / name, model, table=own, callbacks=callbacks)
        assert seen.count("sampling, reference") == times
        assert (of(rows, 0, "reference") == of(rows, 4, "reference")) is (name == "fixed")


def _noted(sample, seen, trainer, model, what="sampling"):
    seen.append(what)
    return sample(trainer, model, what)


@pytest.mark.parametrize("reference", [Precomputed(), SFT()], ids=["precomputed", "none"])
def test_a_reference_that_is_no_model_has_no_column(tmp_path, reference, caplog, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = {"objective": reference} if isinstance(reference, SFT) else {"reference": reference}
    with caplog.at_level("INFO"):
        _, rows = run(tmp_path, module(**settings))
    assert {row["reference"] for row in rows} == {None}
    said = [message for message in caplog.messages if "there are none of it" in message]
    assert len(said) == isinstance(reference, Precomputed)


DYNAMIC = {"max_position_embeddings": 12, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "full": ({"dropout": True}, {}),
    "LoRA": ({"dropout": True, "lora": LoRA(r=4, dropout=0.3)}, {}),
    "adapter": ({"lora": LoRA(r=4, dropout=0.3), "reference": FrozenAdapter()}, {}),
    "moving": ({"dropout": True}, {"callbacks": lambda: [EMAReference(decay=0.5)]}),
    "checkpointed": ({"dropout": True, "gradient_checkpointing": True}, {}),
    "accumulated": ({"dropout": True}, {"accumulate_grad_batches": 2}),
    "bf16-mixed": ({"dropout": True}, {"precision": "bf16-mixed"}),
    "bf16-true": ({"dropout": True}, {"precision": "bf16-true"}),
    "16-true": ({"optimizer": partial(SGD, lr=0.01)}, {"precision": "16-true"}),
    "grows": ({"policy": DYNAMIC}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_the_same_with_samples_and_without(tmp_path, case):
    losses, weights = [], []
    for table in (
        [],
        [SampleTable(str(tmp_path / "samples.md"), 3, every_n_steps=1, max_new_tokens=20, reward=_draws)],
    ):
        given, settings = (dict(each) for each in CASES[case])
        torch.manual_seed(7)
        policy = tiny_llama(attention_dropout=0.3, **given.pop("policy", {}))
        model = module(policy, lr=0.01, step_zero_check=False, **given)
        own = settings.pop("callbacks", list)()
        torch.manual_seed(3)
        _, found = fit(tmp_path, model, callbacks=[*table, *own], max_steps=5, **settings)
        losses.append([*found, torch.rand(1).item()])
        weights.append({name: value.clone() for name, value in model.policy.state_dict().items()})
    assert losses[0] == losses[1]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert (tmp_path / "samples.md").exists()


def _draws(prompt: str, completion: str) -> float:
    return torch.rand(1).item()


def test_a_resumed_run_is_the_whole_one_and_has_all_its_samples(tmp_path):
    (tmp_path / "whole").mkdir()
    model, again, part = (module(lr=0.05, lora=LoRA(r=4, dropout=0.3)) for _ in range(3))
    torch.manual_seed(0)
    _, whole = run(tmp_path / "whole", model, version=0)
    torch.manual_seed(0)
    first, _ = run(tmp_path, part, steps=3, version=0)
    first.save_checkpoint(tmp_path / "step=3.ckpt")
    torch.manual_seed(5)
    _, rows = run(tmp_path, again, resume=tmp_path / "step=3.ckpt", version=1)
    assert [row for row in rows if row["step"] != 3] == whole
    assert all(torch.equal(value, again.policy.state_dict()[name]) for name, value in model.policy.state_dict().items())
    before, after = (
        path.read_text() for path in (tmp_path / "version_0/samples.md", tmp_path / "version_1/samples.md")
    )
    starts = [[line for line in text.splitlines() if "*before" in line] for text in (before, after)]
    assert starts[0] == starts[1] != []


@pytest.mark.parametrize("other", [{"prompts": 4}, {"max_new_tokens": 3}, {"seed": 1}])
def test_other_prompts_or_settings_on_resume_are_sampled_anew(tmp_path, other):
    first, _ = run(tmp_path, steps=1, version=0)
    first.save_checkpoint(tmp_path / "step=1.ckpt")
    table = SampleTable(**{**SMALL, **other})
    _, rows = run(tmp_path, table=table, steps=2, resume=tmp_path / "step=1.ckpt", version=1)
    assert {row["step"] for row in rows[-2 * table.prompts :]} == {1, 2}
    assert (tmp_path / "version_1/samples.md").read_text().count("* *before*: ") == table.prompts * 2


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


def test_memory_that_is_full_costs_the_samples_and_not_the_run(tmp_path, monkeypatch):
    model = tiny_llama()
    monkeypatch.setattr(model, "generate", Mock(side_effect=torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.warns(
        UserWarning, match="SampleTable: out of memory at step 2: no samples, the run goes on; lower samp"
    ):
        running, rows = run(tmp_path, module(model))
    assert running.state.finished
    assert rows == []
    assert model.training


def test_a_policy_that_fails_costs_the_samples_and_not_the_run(tmp_path, monkeypatch):
    model = tiny_llama()
    monkeypatch.setattr(model, "generate", Mock(side_effect=RuntimeError("no distribution")))
    with pytest.warns(UserWarning, match="SampleTable: no samples at step 2, the run goes on: no distribution"):
        running, rows = run(tmp_path, module(model))
    assert running.state.finished
    assert rows == []


def test_a_logger_that_fails_is_left_alone(tmp_path, monkeypatch, recwarn):
    failing = Mock(side_effect=RuntimeError("no server"))
    monkeypatch.setattr(CSVLogger, "log_table", failing, raising=False)
    running, rows = run(tmp_path)
    assert running.state.finished
    assert failing.call_count == 1
    said = [str(each.message) for each in recwarn if "took no samples" in str(each.message)]
    assert said == ["SampleTable: CSVLogger took no samples (no server): the run goes on, and gives it none"]
    assert len(rows) == 9


def test_an_error_of_the_users_own_reward_is_shown(tmp_path):
    def wrong(prompt: str, completion: str) -> float:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        run(tmp_path, table=SampleTable(reward=wrong, **SMALL))


def test_a_quick_trial_writes_nothing(tmp_path):
    trainer(fast_dev_run=True, callbacks=[SampleTable(str(tmp_path / "s.md"), **SMALL)]).fit(module(), data(tmp_path))
    assert not (tmp_path / "s.md").exists()


def test_without_a_logger_there_is_the_markdown_alone(tmp_path):
    running = trainer(default_root_dir=tmp_path, callbacks=[SampleTable(**SMALL)], barebones=True, log_every_n_steps=0)
    running.fit(module(), data(tmp_path))
    assert (tmp_path / "samples.md").exists()
    assert not (tmp_path / "record").exists()


def test_several_sets_give_prompts_in_turns(tmp_path):
    other = write_rows(tmp_path / "other.jsonl", 3)
    (tmp_path / "other.jsonl").write_text((tmp_path / "other.jsonl").read_text().replace("the sun", "a sun"))
    rows = data(tmp_path, val_split={"a": "train[:8]", "b": other})
    _, found = run(tmp_path, rows=rows, table=SampleTable(prompts=4, samples_per_prompt=1, max_new_tokens=2))
    assert [row["prompt"] for row in found[:4]] == ["the sun sun:", "a sun sun:", "the moon sun:", "the star sun:"]


def test_streamed_rows_are_sampled_on_the_validation_rows(tmp_path):
    held_out = write_rows(tmp_path / "held_out.jsonl", 3)
    _, rows = run(tmp_path, rows=data(tmp_path, streaming=True, val_split=held_out))
    assert [row["prompt"] for row in rows[:3]] == ["the sun sun:", "the moon sun:", "the star sun:"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_cannot_be_sampled_is_refused_before_training(tmp_path):
    source = data(tmp_path)
    source.setup()
    with pytest.raises(InputError, match="takes its prompts from a PreferenceDataModule"):
        trainer(callbacks=[SampleTable()]).fit(module(), source.train_dataloader())
    with pytest.raises(InputError, match=r"from validation rows, and the run has none: set data\.val_split"):
        run(tmp_path, rows=data(tmp_path, val_split=None))


@pytest.mark.parametrize("given", ["length", 1.0])
def test_a_reward_that_is_no_function_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"^SampleTable\.reward is a function of prompt and completion, got"):
        SampleTable("samples.md", reward=given)


@pytest.mark.parametrize(
    ("name", "value"), [("every_n_steps", 0), ("temperature", -1.0), ("samples_at_once", 0), ("samples_per_prompt", 0)]
)
def test_a_setting_that_means_nothing_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"^SampleTable\.{name} must be"):
        SampleTable(**{name: value})


def test_the_likeliest_completion_is_sampled_once() -> None:
    assert (SampleTable(temperature=0).samples_per_prompt, SampleTable().samples_per_prompt) == (1, 4)
    with pytest.raises(InputError, match=r"^SampleTable\.samples_per_prompt: 2 completions at temperature 0 are all"):
        SampleTable(temperature=0, samples_per_prompt=2)
