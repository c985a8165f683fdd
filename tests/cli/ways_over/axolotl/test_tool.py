"""The way over from axolotl as a whole."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.ways_over.axolotl import TOOL
from dpo_lightning.cli.ways_over.conversion import convert
from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import axolotl, config


def test_a_file_of_accelerate_is_known() -> None:
    with pytest.raises(InputError, match="a config of accelerate"):
        convert(TOOL, {"compute_environment": "LOCAL_MACHINE"}, "config a.yaml")


def test_names_that_steps_share_are_fields_of_axolotl() -> None:
    assert {*TOOL.called.values()} <= TOOL.fields.keys()
    assert not TOOL.fixed.keys() & TOOL.fields.keys()


def test_the_least_config() -> None:
    found = config(axolotl())
    assert found["trainer"]["max_epochs"] == 1
    assert found["seed_everything"] == found["data"]["seed"] == 42
    assert found["model"]["optimizer"]["init_args"]["lr"] == 1e-5
