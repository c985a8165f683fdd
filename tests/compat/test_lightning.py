"""A class method that no instance has, and the environment of a run."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, WeightAveraging
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import nn
from torch.optim.swa_utils import AveragedModel

from dpo_lightning.compat.lightning import class_only, clipping_by, cluster_environment, keep_frozen_weights
from tests.helpers.runs import module, trainer


def test_a_class_method_is_not_called_on_an_instance() -> None:
    class Loads:
        @class_only
        def load(cls) -> type:  # noqa: N805 - a classmethod
            return cls

    assert Loads.load() is Loads
    with pytest.raises(TypeError, match="cannot be called on an instance"):
        Loads().load()
    with pytest.raises(TypeError, match="cannot be called on an instance"):
        module().load_from_checkpoint("a.ckpt")


def test_the_environment_of_a_run_is_the_one_that_it_was_given() -> None:
    environment = LightningEnvironment()

    assert cluster_environment(trainer(plugins=[environment])) is environment


def test_an_average_of_equal_weights_is_exact_and_wrapped_once() -> None:
    averaging = EMAWeightAveraging(decay=0.9)
    for _ in range(2):
        keep_frozen_weights(averaging)
    averaged = AveragedModel(nn.Linear(1, 1), **averaging._kwargs)
    average = averaged.avg_fn
    whole, frozen = torch.arange(9), torch.rand(9)

    assert torch.equal(average(whole, whole, 1), whole)
    assert torch.equal(average(frozen, frozen, 1), frozen)
    assert torch.equal(average(torch.zeros(2), torch.ones(2), 1), average.average(torch.zeros(2), torch.ones(2), 1))
    assert not isinstance(average.average, type(average))
    keep_frozen_weights(WeightAveraging())


def test_a_precision_clips_by_the_function_inside_the_block_unless_it_has_a_way_of_its_own() -> None:
    class Own(MixedPrecision):
        def clip_grad_by_norm(self, *_: object) -> None:
            called.append("own")

    called: list[str] = []
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    for kind in (MixedPrecision, Own):
        run = trainer(plugins=[kind("bf16-mixed", "cpu")])
        with clipping_by(run, lambda *_: called.append("given")):
            run.precision_plugin.clip_gradients(optimizer, 1.0)
        assert "clip_gradients" not in vars(run.precision_plugin)
    with clipping_by(None, called.clear):
        assert called == ["given", "own"]
