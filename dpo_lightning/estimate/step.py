"""Operations and bytes sent of one optimizer step, for one device."""

from __future__ import annotations

from typing import NamedTuple

from dpo_lightning.estimate.devices import BETWEEN_NODES, NODE, Device
from dpo_lightning.estimate.memory import Numerics, State, weight_bytes
from dpo_lightning.estimate.shape import ModelShape
from dpo_lightning.estimate.workload import Mesh, Work, Workload
from dpo_lightning.policy.recompute import recomputes_layers


def forward_flops(shape: ModelShape, work: Work) -> float:
    """Return 2 M L + 4 H A layers: M active parameters of the layers, A pairs of query and key; without the head."""
    return 2.0 * shape.active_parameters * work.tokens + 4.0 * shape.heads * work.attended * shape.layers


def head_flops(shape: ModelShape, work: Work, products: int) -> float:
    """Return 2 N V D for each matrix product: one scores, a second is its input's gradient, a third its weight's."""
    return 2.0 * work.scored * shape.vocabulary * shape.hidden * products


def step_flops(shape: ModelShape, work: Work, state: State, *, reference_forward: bool, tensor: int = 1) -> float:
    """Return the operations of an optimizer step on one device.

    For each micro-batch `forward x (1 + 2 [full] or 1 [adapters] + 1 [checkpointing] + 1 [reference])`: with frozen
    weights the backward has no products for them, and 4 per token for each parameter of an adapter; `selective`
    computes no product again. Adam and the like are bound by memory and left out.
    """
    backward = 2.0 if shape.full else 1.0
    passes = 1.0 + backward + recomputes_layers(state.checkpointing) + reference_forward
    adapters = 0.0 if shape.full else 2.0 * shape.trainable * work.tokens
    head = head_flops(shape, work, (3 if shape.head_trained else 2) + reference_forward)
    return work.accumulate * (passes * forward_flops(shape, work) + adapters + head) / tensor


class Sent(NamedTuple):
    """Bytes that one device sends in an optimizer step, over its data-parallel and its tensor-parallel group."""

    data: float
    tensor: float

    def seconds(self, device: Device, mesh: Mesh) -> float:
        """Return the time of sending alone: a tensor-parallel group is in one node, a data-parallel one in several."""
        data_link = device.link if mesh.devices <= NODE else min(device.link, BETWEEN_NODES)
        return self.data / data_link + self.tensor / device.link


def step_sent(
    shape: ModelShape, work: Workload, numerics: Numerics, state: State, mesh: Mesh, *, reference_forward: bool
) -> Sent:
    """Return the bytes that one device sends in a step; ring collectives over n devices send (n - 1) / n of a tensor.

    DDP     2 (n-1)/n w trainable                       one all-reduce of the gradients, after the last micro-batch
    FSDP2   (n-1)/n (2 W + 4 trainable) m               two all-gathers of the weights W, one reduce-scatter of
                                                        float32 gradients, for each of m micro-batches
            (n-1)/n W m [reference a copy, or adapter off]   one all-gather more
    TP      2 (t-1)/t (4 + 2 [checkpointing] + 2 [reference]) layers L D a m     all-reduces of activations
    """
    around = (mesh.data - 1) / mesh.data
    if mesh.sharded:
        weights = weight_bytes(shape, numerics) / mesh.tensor
        gathers = 2 + reference_forward
        data = around * work.accumulate * (gathers * weights + 4 * shape.trainable / mesh.tensor)
    else:
        data = 2 * around * numerics.weight * shape.trainable / mesh.tensor
    reduces = 4 + 2 * recomputes_layers(state.checkpointing) + 2 * reference_forward
    row = work.tokens * shape.hidden * numerics.activation
    tensor = 2 * (mesh.tensor - 1) / mesh.tensor * reduces * shape.layers * row * work.accumulate
    return Sent(data, tensor)
