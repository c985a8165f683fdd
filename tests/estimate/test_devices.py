"""Figures of GPUs: in their units, and of one order of magnitude."""

from __future__ import annotations

import pytest

from dpo_lightning.estimate import GPUS, Device, peak_flops
from dpo_lightning.estimate.devices import BETWEEN_NODES, known_device


@pytest.mark.parametrize("device", GPUS.values(), ids=GPUS)
def test_figures_are_in_their_units(device: Device) -> None:
    assert 10 < device.gigabytes < 1000
    assert 1e13 < device.single_flops < device.half_flops < 1e16
    assert 1e10 < device.link < 1e12


def test_the_links_inside_a_node_of_data_center_gpus_are_faster_than_between_nodes() -> None:
    assert all(GPUS[name].link > BETWEEN_NODES for name in ("H200", "H100", "A100"))


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100-PCIE-40GB", "A100"),
        ("NVIDIA A100 80GB PCIe", "A100"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("NVIDIA H100 PCIe", None),  # slower than the one on a board of its own
        ("NVIDIA H100 NVL", None),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", None),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA L40", None),
        ("NVIDIA GH200 480GB", None),
        ("", None),
    ],
)
def test_a_card_is_known_by_its_name(name: str, model: str | None) -> None:
    assert known_device(name) == (None if model is None else GPUS[model])


def test_the_peak_is_that_of_the_precision() -> None:
    for precision in ("bf16-mixed", "16-true", "bf16"):
        assert peak_flops("NVIDIA H200", precision, float32_is_exact=False) == 989e12
    assert peak_flops("NVIDIA H200", "32-true", float32_is_exact=True) == 67e12
    assert peak_flops("NVIDIA H200", "32-true", float32_is_exact=False) is None  # TF32
    assert peak_flops("NVIDIA H200", "64-true", float32_is_exact=True) is None
    assert peak_flops("NVIDIA H200", "transformer-engine", float32_is_exact=True) is None
    assert peak_flops("NVIDIA T4", "16-mixed", float32_is_exact=True) is None
