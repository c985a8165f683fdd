"""A class method that no instance has, and the environment of a run."""

from __future__ import annotations

import pytest
from lightning.pytorch.plugins.environments import LightningEnvironment

from dpo_lightning.compat.lightning import class_only, cluster_environment
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
