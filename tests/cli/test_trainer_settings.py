"""What the command adds to a config that says nothing of it."""

from __future__ import annotations

from typing import Any

import pytest
from jsonargparse import Namespace
from lightning.pytorch.callbacks import LearningRateMonitor, RichProgressBar, TQDMProgressBar

from dpo_lightning.callbacks import KeepRecord, ProgressLine
from dpo_lightning.cli.trainer_settings import limit_epochs, with_progress, with_record


@pytest.mark.parametrize(
    ("given", "epochs"),
    [
        ({}, 1),
        ({"max_epochs": None, "max_steps": -1, "max_time": None}, 1),
        ({"max_epochs": 3}, 3),
        ({"max_epochs": -1}, -1),
        ({"max_steps": 100}, None),
        ({"max_time": "00:01:00:00"}, None),
        ({"callbacks": [{"class_path": "lightning.pytorch.callbacks.Timer"}]}, None),
        ({"callbacks": [{"class_path": "SampleTable"}]}, 1),
        ({"callbacks": Namespace(class_path="lightning.pytorch.callbacks.Timer")}, None),
        ({"callbacks": Namespace(class_path="SampleTable")}, 1),
        ({"fast_dev_run": True}, None),
    ],
)
def test_a_fit_without_a_limit_is_one_pass(
    given: dict[str, Any], epochs: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    told = given.get("max_epochs") is None and epochs == 1
    limit_epochs(given)

    assert given.get("max_epochs") == epochs
    assert caplog.messages == ["trainer.max_epochs is not set: one pass over the data"] * told


def test_the_line_stands_first() -> None:
    rate = LearningRateMonitor()
    first, *others = with_progress({"callbacks": [rate]})

    assert isinstance(first, ProgressLine)
    assert others == [rate]
    assert [type(each) for each in with_progress({"callbacks": None})] == [ProgressLine]


@pytest.mark.parametrize("bar", [RichProgressBar, TQDMProgressBar, ProgressLine])
def test_another_bar_takes_its_place(bar: Any) -> None:
    named = bar()
    assert with_progress({"callbacks": named}) == [named]


@pytest.mark.parametrize("switch", [{"enable_progress_bar": False}, {"barebones": True}])
def test_an_unwanted_bar_is_not_there(switch: dict[str, bool]) -> None:
    assert with_progress({"callbacks": None, **switch}) == []


def test_a_fit_keeps_its_record_once() -> None:
    others: list[Any] = [ProgressLine()]
    (_, kept) = with_record(others, ["fit", "--config", "a.yaml"])
    assert isinstance(kept, KeepRecord)
    assert kept.command == ["dpo-lightning", "fit", "--config", "a.yaml"]
    (_, kept) = with_record(others, None)
    assert isinstance(kept, KeepRecord)
    assert kept.command is None
    own = KeepRecord()
    assert with_record([own], ["fit"]) == [own]
    assert own.command == ["dpo-lightning", "fit"]
    assert with_record([own], ["validate"]) == [own]
    assert own.command == ["dpo-lightning", "fit"]
