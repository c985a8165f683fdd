"""Costs of a run, as formulas: memory of a device, operations and bytes sent of an optimizer step."""

from dpo_lightning.estimate.counts import Counts
from dpo_lightning.estimate.devices import GPUS, Device, peak_flops
from dpo_lightning.estimate.memory import Memory, Numerics, State, device_memory
from dpo_lightning.estimate.shape import ModelShape, model_shape, shape_of
from dpo_lightning.estimate.step import Sent, step_flops, step_sent
from dpo_lightning.estimate.workload import Mesh, Workload

__all__ = [
    "GPUS",
    "Counts",
    "Device",
    "Memory",
    "Mesh",
    "ModelShape",
    "Numerics",
    "Sent",
    "State",
    "Workload",
    "device_memory",
    "model_shape",
    "peak_flops",
    "shape_of",
    "step_flops",
    "step_sent",
]
