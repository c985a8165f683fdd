"""Each argument of module and data: what may be another one when a run goes on, and what is refused."""

from __future__ import annotations

import inspect
from functools import partial

import pytest
from lightning.pytorch.loggers import CSVLogger
from torch.optim import AdamW

from dpo_lightning import (
    IPO,
    ByLength,
    Clean,
    Cosine,
    FrozenCopy,
    LoRA,
    PreferenceDataModule,
    PreferenceModule,
    RowFormat,
)
from dpo_lightning.callbacks import ResumableCheckpoint
from dpo_lightning.errors import InputError
from tests.helpers import runs
from tests.helpers.tiny import tiny_tokenizer

MAY_CHANGE = None
# Another value of each argument, and how its refusal begins.
MODULE = {
    "policy": ("other", "the checkpoint's run compared with another reference"),
    "objective": (IPO(), "the checkpoint's run had objective DPO, and this run asks for IPO"),
    "reference": (FrozenCopy("other"), "the checkpoint's run compared with another reference|.*had reference"),
    "lora": (LoRA(r=2), "the checkpoint's trainable parameters are not this run's|.*had lora"),
    "quantization_config": (MAY_CHANGE, "see test_a_quantized_base_is_known_again"),
    "model_kwargs": ({"attn_implementation": "eager"}, MAY_CHANGE),
    "gradient_checkpointing": (True, MAY_CHANGE),
    "dropout": (True, "the checkpoint's run had dropout False, and this run asks for True"),
    "step_zero_check": (False, MAY_CHANGE),
    "fused_layers": ("compile", "the checkpoint's run had fused_layers auto, and this run asks for compile"),
    "router_aux_loss_coef": (0.0, "the checkpoint's run had router_aux_loss_coef None, and this run asks for 0.0"),
    "optimizer": (partial(AdamW, lr=0.5, weight_decay=0.1), "the checkpoint's run had optimizer.lr 0.001"),
    "schedule": (Cosine(warmup=0), "the checkpoint's run had schedule Constant, and this run asks for Cosine"),
    "resume": ("changed", MAY_CHANGE),
}
ORDER = "the checkpoint was written with "
DATA = {
    "dataset": ("other.jsonl", ORDER + "pairs 24, this run has 20"),
    "tokenizer": (None, MAY_CHANGE),  # of the policy, where the fixture gives the same one
    "sources": ([{"dataset": "pairs.jsonl"}], "the checkpoint was written with other sources"),
    "streaming": (True, ORDER),
    "shuffle_buffer": (10, ORDER),
    "train_split": ("train[:20]", ORDER + "pairs 24, this run has 20"),
    "val_split": ("train[:4]", MAY_CHANGE),
    "val_split_by": ("prompt", ORDER + "pairs 24"),
    "test_split": ("train[:4]", MAY_CHANGE),
    "load_options": ({}, MAY_CHANGE),
    "format": (RowFormat(prompt_template="Q: {prompt}"), ORDER + "content"),
    "chat_template": ("chat.jinja", MAY_CHANGE),  # the rows are no messages
    "chat_template_kwargs": ({"messages_read": False}, MAY_CHANGE),
    "chat_template_date": ("2026-11-30", MAY_CHANGE),
    "scored": ("completion", MAY_CHANGE),  # the rows are no messages
    "eos": ("never", ORDER + "content"),
    "max_length": (20, ORDER + "(content|pairs)"),
    "max_prompt_length": (2, ORDER + "content"),
    "batch_pairs": (2, ORDER + "batch_pairs 4, this run has 2"),
    "batch_tokens": (64, ORDER + "batch_pairs 4, this run has None"),
    "eval_batch_pairs": (2, MAY_CHANGE),
    "layout": ("padded", MAY_CHANGE),
    "length_grouped": (True, ORDER + "length_grouped False, this run has True"),
    "order": (ByLength(), ORDER + "order shuffled"),
    "num_workers": (1, MAY_CHANGE),
    "num_proc": (1, MAY_CHANGE),
    "seed": (7, ORDER + "seed 0, this run has 7"),
    "clean": (Clean(contaminated=True), ORDER + "pairs 24, this run has 16"),
    "resume": ("next_epoch", MAY_CHANGE),
}


AS_TEXT = {"format": RowFormat(as_messages=False)}
# What else has to be said: the padded layout would group by length, and a template is not put around text.
BESIDE = {
    "sources": {"dataset": None},
    "streaming": {"val_split": None},
    "shuffle_buffer": {"streaming": True, "val_split": None},
    "val_split_by": {"val_split": 0.5},
    "batch_tokens": {"batch_pairs": None},
    "layout": {"length_grouped": False},
    "chat_template": AS_TEXT,
    "chat_template_kwargs": {"chat_template": "reading.jinja", **AS_TEXT},
    "chat_template_date": {"chat_template": "dated.jinja", **AS_TEXT},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with models, rows, and a checkpoint of the second step of an epoch."""
    path = tmp_path_factory.mktemp("arguments")
    runs.saved_model(path / "model")
    runs.saved_model(path / "other", seed=9)
    (path / "chat.jinja").write_text("{{ messages }}")
    (path / "reading.jinja").write_text("{{ messages if messages_read }}")
    (path / "dated.jinja").write_text("{{ strftime_now('%d') }}{{ messages }}")
    runs.write_rows(path / "other.jsonl", 20)
    run = runs.trainer(max_steps=2)
    run.fit(runs.module(str(path / "model")), runs.data(path))
    run.save_checkpoint(path / "a.ckpt")
    return path


def goes_on(place, module=None, data=None, **settings):
    """The third step of the run."""
    run = runs.trainer(**{"max_steps": 3, **settings})
    module = runs.module(**{"policy": str(place / "model"), **(module or {})})
    given = {"tokenizer": tiny_tokenizer(), "val_split": "train[:8]", "batch_pairs": 4, **(data or {})}
    pairs = {"dataset": str(place / "pairs.jsonl"), **given}
    run.fit(module, PreferenceDataModule(**pairs), ckpt_path=str(place / "a.ckpt"))
    assert run.global_step >= 3


def test_the_tables_say_something_of_every_argument():
    assert {*MODULE} == {*inspect.signature(PreferenceModule).parameters}
    assert {*DATA} == {*inspect.signature(PreferenceDataModule).parameters}


@pytest.mark.parametrize("name", [name for name in MODULE if name != "quantization_config"])
def test_an_argument_of_the_module(place, monkeypatch, name):
    monkeypatch.chdir(place)
    value, refusal = MODULE[name]
    if refusal is MAY_CHANGE:
        goes_on(place, {name: value})
        return
    with pytest.raises(InputError, match=refusal) as refused:
        goes_on(place, {name: value})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", DATA)
def test_an_argument_of_the_data(place, monkeypatch, name):
    monkeypatch.chdir(place)
    value, refusal = DATA[name]
    changed = {name: value, **BESIDE.get(name, {})}
    if refusal is MAY_CHANGE:
        goes_on(place, data=changed)
        return
    with pytest.raises(InputError, match=refusal) as refused:
        goes_on(place, data=changed)
    assert "\n" not in str(refused.value)


def test_loggers_lengths_and_paths_may_change(place, tmp_path):
    saving = ResumableCheckpoint(str(tmp_path / "elsewhere"), 1)
    logger = CSVLogger(tmp_path / "logs")
    goes_on(place, max_steps=-1, max_epochs=3, logger=logger, callbacks=[saving], enable_checkpointing=True)
    goes_on(place, log_every_n_steps=7, default_root_dir=tmp_path / "root", val_check_interval=1)
