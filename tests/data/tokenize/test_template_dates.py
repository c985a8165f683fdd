"""The date that a run's chat template writes: decided once, kept in checkpoints, the same tomorrow."""

from __future__ import annotations

import datetime
import logging
from types import SimpleNamespace

import datasets
import pytest
from lightning.pytorch.trainer.states import TrainerFn

from dpo_lightning.data.tokenize import template_dates
from dpo_lightning.data.tokenize.template_dates import STATE, TemplateDate, date_of, reads_clock, templates_of
from dpo_lightning.errors import InputError
from tests.data.common import data
from tests.helpers import runs
from tests.helpers.tiny import tiny_llama
from tests.helpers.tokenizers import CHATML, chat, merging, turn

DATED = "{{ strftime_now('%Y-%m-%d') }}" + CHATML
DAY = datetime.date(2026, 11, 30)


class Clock(datetime.datetime):
    today_is = DAY

    @classmethod
    def now(cls, tz=None):
        return cls(cls.today_is.year, cls.today_is.month, cls.today_is.day, 23, 59)


@pytest.fixture
def clock(monkeypatch):
    """The clock of the package and of chat templates."""
    from transformers.utils import chat_template_utils

    monkeypatch.setattr(template_dates, "datetime", Clock)
    monkeypatch.setattr(chat_template_utils, "datetime", Clock)
    monkeypatch.setattr(Clock, "today_is", DAY)
    return Clock


def test_templates_of_a_tokenizer():
    tokenizer = chat(None)
    assert templates_of(tokenizer) == []
    tokenizer.chat_template = {"default": "a", "rag": "b"}
    assert templates_of(tokenizer) == ["a", "b"]
    assert reads_clock(DATED)
    assert not reads_clock(CHATML)


def test_a_date_is_written_as_iso_has_it():
    assert date_of("2026-11-30") == DAY
    for wrong in ("30.11.2026", "2026-13-01", ""):
        with pytest.raises(InputError, match=r"^data.chat_template_date: .* is no date such as 2026-11-30"):
            TemplateDate(wrong)


def test_where_it_comes_from(clock, caplog):
    given, none = TemplateDate("2024-01-01"), TemplateDate(None)
    with caplog.at_level(logging.INFO):
        for date in (given, none):
            date.settle(chat(DATED))
        assert caplog.text.count("it writes the date, which is 2026-11-30") == 1
        clock.today_is = datetime.date(2026, 12, 1)
        none.settle(chat(DATED))
        assert none.value == DAY, "once decided, it stays"
        assert not given.take({STATE: "2025-05-05"})
        assert not none.take({})
        assert none.take({STATE: "2025-05-05"})
        assert not none.take({STATE: "2025-05-05"}), "it has it"
    assert "the rows are read again, with 2025-05-05" in caplog.text
    assert given.state() == {STATE: "2024-01-01"}
    assert none.state() == {STATE: "2025-05-05"}


def test_a_template_without_a_date_has_none_and_takes_none():
    date = TemplateDate(None)
    date.settle(chat(CHATML))
    date.share()
    assert not date.take({STATE: "2025-05-05"})
    assert (date.value, date.state()) == (None, {})
    with pytest.raises(InputError, match=r"^data.chat_template_date: the chat template writes no date"):
        TemplateDate("2026-11-30").settle(chat(CHATML))


def test_another_date_than_the_checkpoints_is_refused():
    date = TemplateDate("2024-01-01")
    date.settle(chat(DATED))
    date.check({})
    date.check({STATE: "2024-01-01"})
    with pytest.raises(InputError, match=r"have the date 2025-05-05 .* set data.chat_template_date=2025-05-05, or"):
        date.check({STATE: "2025-05-05"})


PAIRS = [
    {"prompt": [turn("user", "a" * n)], "chosen": [turn("assistant", "b")], "rejected": [turn("assistant", "c")]}
    for n in range(1, 13)
]


def pairs(**settings):
    return data(datasets.Dataset.from_list(PAIRS), tokenizer=chat(DATED, merging()), **settings)


def fit(steps, rows, **settings):
    run = runs.trainer(max_steps=steps)
    run.fit(runs.module(tiny_llama(vocab_size=440)), rows, **settings)
    return run


def test_a_job_that_is_put_back_in_the_queue_goes_on_tomorrow(clock, tmp_path):
    """With the rows of its first day, in a new DataModule; without a date they would be others."""
    first, checkpoint = pairs(), str(tmp_path / "a.ckpt")
    fit(2, first).save_checkpoint(checkpoint)
    clock.today_is = datetime.date(2026, 12, 1)
    other = pairs()
    other.setup()
    assert other.prompts("train") != first.prompts("train"), "the premise"

    again = pairs()
    assert fit(3, again, ckpt_path=checkpoint).global_step == 3
    assert again.prompts("train") == first.prompts("train")
    assert again.state_dict()[STATE] == "2026-11-30"

    with pytest.raises(
        InputError, match="have the date 2026-11-30 in their chat template, and this run has 2026-12-01"
    ):
        fit(3, pairs(chat_template_date="2026-12-01"), ckpt_path=checkpoint)
    next_epoch = pairs(chat_template_date="2026-12-01", resume="next_epoch")
    fit(4, next_epoch, ckpt_path=checkpoint)
    assert next_epoch.prompts("train") == other.prompts("train")


def test_a_strategy_that_restores_behind_the_rows_is_told_which_date_to_set(clock):
    """As FSDP does: its hooks have read the rows, so the run starts again, with the date of the checkpoint."""
    strategy, state = SimpleNamespace(restore_checkpoint_after_setup=True), SimpleNamespace(fn=TrainerFn.FITTING)
    rows = pairs()
    rows.setup()
    before = rows.prompts("train")
    rows.trainer = SimpleNamespace(strategy=strategy, state=state)
    with pytest.raises(InputError, match=r"set data\.chat_template_date=2026-11-29, or .* data\.resume=next_epoch"):
        rows.load_state_dict({STATE: "2026-11-29"})
    assert rows.prompts("train") == before
