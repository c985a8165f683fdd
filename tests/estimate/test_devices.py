"""Figures of GPUs: in their units, and of one order of magnitude."""

from __future__ import annotations

import pytest

from dpo_lightning.estimate import GPUS, Device
from dpo_lightning.estimate.devices import BETWEEN_NODES


@pytest.mark.parametrize("device", GPUS.values(), ids=GPUS)
def test_figures_are_in_their_units(device: Device) -> None:
    assert 10 < device.gigabytes < 1000
    assert 1e13 < device.single_flops < device.half_flops < 1e16
    assert 1e10 < device.link < 1e12


def test_the_links_inside_a_node_of_data_center_gpus_are_faster_than_between_nodes() -> None:
    assert all(GPUS[name].link > BETWEEN_NODES for name in ("H200", "H100", "A100"))
