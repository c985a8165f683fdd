"""Settings of a run that goes on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dpo_lightning import PreferenceModule
from dpo_lightning.checkpoints.settings import (
    Difference,
    checked_mode,
    differences,
    differing_arguments,
    refuse_or_tell,
    refuse_other_shapes,
    refuse_without_training_state,
)
from dpo_lightning.errors import InputError
from tests.helpers.tiny import tiny_llama

DPO = {"class_path": "dpo_lightning.DPO", "init_args": {"beta": 0.1}}
IPO = {"class_path": "dpo_lightning.losses.ipo.IPO", "init_args": {"tau": 0.1}}


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        (1, 1.0, []),
        ([0.9, 0.99], (0.9, 0.99), []),
        ([0.9, 0.99], (0.9, 0.95), [("x", [0.9, 0.99], (0.9, 0.95))]),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, [("x.b", 2, 3)]),
        ({"a": 1, "gone": 2}, {"a": 1, "new": 3}, []),
        (DPO, {**DPO, "class_path": "dpo_lightning.losses.dpo.DPO"}, []),
        (DPO, {**DPO, "init_args": {"beta": 5.0}}, [("x.beta", 0.1, 5.0)]),
        (DPO, IPO, [("x", "DPO", "IPO")]),
        (DPO, None, [("x", "DPO", None)]),
    ],
)
def test_differences_have_names(before, now, found):
    assert differences("x", before, now) == [Difference(*each) for each in found]


def test_a_setting_that_only_one_has_counts_where_that_is_asked():
    assert differences("x", {}, {"a": 1}, strict=True) == [Difference("x.a", None, 1)]


def test_arguments_that_may_change_and_those_of_subclasses():
    before = {"objective": DPO, "policy": "a", "gradient_checkpointing": False, "mine": 1, "_instantiator": "x"}
    held = {"objective": IPO, "policy": "b", "gradient_checkpointing": True, "mine": 2, "_instantiator": "y"}
    found = differing_arguments({"hyper_parameters": before}, held, {})
    assert found == [Difference("objective", "DPO", "IPO"), Difference("mine", 1, 2)]


def test_an_argument_that_is_not_held_is_compared_by_its_class():
    checkpoint = {"hyper_parameters": {"policy": "a"}, "not_held": {"objective": "Mine", "optimizer": "function"}}
    assert differing_arguments(checkpoint, {}, {"objective": "Mine", "optimizer": "partial"}) == []
    assert differing_arguments(checkpoint, {"objective": DPO}, {}) == [Difference("objective", "Mine", "DPO")]


def test_they_are_refused_in_one_line_or_said_one_by_one(caplog):
    found = [Difference("a", 1, 2), Difference("b", 3, 4)]
    with pytest.raises(InputError, match=r"had a 1, and this run asks for 2; b 3, .*model.resume=changed"):
        refuse_or_tell(found, "exact")
    with caplog.at_level("INFO"):
        refuse_or_tell(found, "changed")
    assert caplog.messages == ["model.resume=changed: a is 2, was 1", "model.resume=changed: b is 4, was 3"]
    refuse_or_tell([], "exact")


def test_another_word_is_refused():
    assert checked_mode("changed") == "changed"
    with pytest.raises(InputError, match="resume is one of exact, changed, got 'next_epoch'"):
        PreferenceModule(tiny_llama(), resume="next_epoch")


def test_a_checkpoint_of_weights_only_is_refused_to_train_on():
    for restores in (True, False):
        run = SimpleNamespace(strategy=SimpleNamespace(lightning_restore_optimizer=restores))
        refuse_without_training_state({"optimizer_states": [], "lr_schedulers": []}, run)
        with pytest.raises(InputError, match="holds weights only, and no lr_schedulers"):
            refuse_without_training_state({}, run)


def test_other_shapes_are_named():
    refuse_other_shapes({"a": torch.Size([2])}, {"a": torch.zeros(2)})
    with pytest.raises(InputError, match=r"the checkpoint's a has the shape \[2\], and this run's \[3\]"):
        refuse_other_shapes({"a": torch.Size([2])}, {"a": torch.zeros(3)})
