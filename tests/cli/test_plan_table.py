"""The meshes of `dpo-lightning plan`; `tests/cli/commands/test_plan.py` reads its table."""

from __future__ import annotations

from dataclasses import replace

from dpo_lightning.cli.plan_table import meshes
from dpo_lightning.estimate import ModelShape


def test_quantized_weights_are_not_sharded():
    shape = ModelShape(*range(1, 13), head_groups=8, rank=0, head_trained=True, linear=0)
    shape = replace(shape, quantized=0)
    assert [name for name, _ in meshes(None, replace(shape, quantized=1))] == ["1 GPU", "8 DDP", "64 DDP"]
    assert [mesh.devices for _, mesh in meshes(None, shape)] == [1, 8, 8, 64, 64, 64]
    for refused in (replace(shape, rank=8), replace(shape, head_groups=4)):
        assert [mesh.tensor for _, mesh in meshes(None, refused)] == [1, 1, 1, 1, 1]
