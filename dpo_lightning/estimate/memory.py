"""Memory of one device in bytes, term by term.

Symbols: `w` bytes of a weight and `a` bytes of an activation in a matrix product; `S` devices that a parameter is
sharded over, `t` those that split a layer's matrices; the model's sizes as in `ModelShape`, the batch's as in
`Workload`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from dpo_lightning.estimate.shape import ModelShape
from dpo_lightning.estimate.workload import Mesh, Workload
from dpo_lightning.logprobs.tiling import LEAST_KEPT, TILING, WIDEST, kept_of
from dpo_lightning.policy.precision import precision_of
from dpo_lightning.policy.recompute import Checkpointing, recomputes_layers


class Numerics(NamedTuple):
    """Bytes of numbers.

    Attributes:
        weight: `w`, of a weight outside quantized matrices.
        activation: `a`, of an activation.
        quantized: `q`, of a quantized weight.
        is_narrow: Whether the weights' values are those of the narrower dtype that mixed precision multiplies in.
    """

    weight: int
    activation: int
    quantized: float = 0.0
    is_narrow: bool = False

    @classmethod
    def of(cls, precision: str, quantized: float = 0.0, saved: torch.dtype | None = None) -> Numerics:
        """Return the numerics of a Lightning precision.

        Args:
            precision: Its name.
            quantized: Bytes of a quantized weight.
            saved: Dtype of the checkpoint that is loaded; None where not known.
        """
        dtypes = precision_of(precision)
        is_narrow = saved is not None and saved == dtypes.autocast
        return cls(dtypes.weights.itemsize, dtypes.products.itemsize, quantized, is_narrow)

    @property
    def mixed(self) -> bool:
        """Return whether autocast makes a copy of each matrix that it multiplies with."""
        return self.weight != self.activation


class State(NamedTuple):
    """State that is kept beside the policy.

    Attributes:
        reference_copies: Whole copies of the base model that the reference holds: 0 or 1.
        reference_adapters: Copies of the adapters that it holds: 0 or 1.
        optimizer: Bytes that the optimizer keeps for each byte of trained weight: 2 for AdamW.
        checkpointing: What is recomputed in the backward.
        moved: Whether a callback moves the reference.
        kept: Bytes that this callback keeps for each byte of a weight that it moves.
    """

    reference_copies: int
    reference_adapters: int
    optimizer: float
    checkpointing: Checkpointing
    moved: bool = False
    kept: float = 0.0


class Memory(NamedTuple):
    """Bytes of a device.

    Attributes:
        policy: Its weights.
        reference: Weights that only the reference has.
        gradients: Of the trained weights.
        optimizer: State of the optimizer.
        copies: Copies of weights and gradients that autocast or the strategy makes.
        activations: Tensors that the forward keeps for the backward.
        head: Tensors of the head besides.
        update: Tensors of the optimizer's step besides, when the two before are gone.
    """

    policy: float
    reference: float
    gradients: float
    optimizer: float
    copies: float
    activations: float
    head: float
    update: float

    @property
    def total(self) -> float:
        """Sum of what stays, and the larger of forward and backward or the optimizer's update."""
        stays = self.policy + self.reference + self.gradients + self.optimizer + self.copies
        return stays + max(self.activations + self.head, self.update)


def device_memory(
    shape: ModelShape,
    work: Workload,
    numerics: Numerics,
    state: State,
    mesh: Mesh,
    device_bytes: float = 0.0,
    reference: ModelShape | None = None,
) -> Memory:
    """Return the memory of one GPU at its peak, without the allocator's fragments and the CUDA context.

    Args:
        shape: Sizes of the policy.
        work: A micro-batch.
        numerics: Bytes of numbers.
        state: What is kept beside the policy.
        mesh: How it is spread.
        device_bytes: Memory that the GPU has: the head keeps more for the backward where there is more.
        reference: Sizes of the model that the reference copies; None for the policy's own.
    """
    share, other = _share(shape, mesh), reference or shape
    trained = numerics.weight * shape.trainable * share
    copies = reference_bytes(other, numerics, mesh, moved=state.moved) * _share(other, mesh) * state.reference_copies
    return Memory(
        policy=policy_bytes(shape, numerics, mesh) * share,
        reference=copies + trained * (state.reference_adapters + state.kept),
        gradients=trained,
        optimizer=state.optimizer * trained,
        copies=copy_bytes(shape, numerics, mesh, state.checkpointing),
        activations=activation_bytes(shape, work, numerics, state.checkpointing, mesh.tensor),
        head=head_bytes(shape, work, numerics, kept=kept_of(device_bytes)),
        update=trained,
    )


def _share(shape: ModelShape, mesh: Mesh) -> float:
    """Return a device's part of the parameters: 1 / (n t) of the layers and 1 / n of the rest, n = 1 for DDP."""
    in_layers = shape.layer_parameters / shape.parameters
    split = in_layers / mesh.tensor + (1 - in_layers)
    return split / mesh.data if mesh.sharded else split


def weight_bytes(shape: ModelShape, numerics: Numerics) -> float:
    """Return the bytes of all weights: w (parameters - quantized) + q quantized."""
    return numerics.weight * (shape.parameters - shape.quantized) + numerics.quantized * shape.quantized


def policy_bytes(shape: ModelShape, numerics: Numerics, mesh: Mesh) -> float:
    """Return the bytes of the policy: `weight_bytes` - (w - a) linear [adapters, values of a narrower dtype].

    The layers under adapters are in the dtype of their products, but where they are sharded.
    """
    whole = weight_bytes(shape, numerics)
    return whole - _narrowed(shape, numerics, mesh) if numerics.is_narrow and not shape.full else whole


def reference_bytes(shape: ModelShape, numerics: Numerics, mesh: Mesh, *, moved: bool = False) -> float:
    """Return the bytes of a frozen copy of all weights: `weight_bytes` - (w - a) linear.

    Its linear layers and its head are in the dtype of their products, but where it is sharded, or moved by a callback:
    the last term is then 0. A copy with adapters is as the policy is.
    """
    if not shape.full:
        return policy_bytes(shape, numerics, mesh)
    return weight_bytes(shape, numerics) - (0 if moved else _narrowed(shape, numerics, mesh))


def _narrowed(shape: ModelShape, numerics: Numerics, mesh: Mesh) -> float:
    """Return (w - a) linear, or 0 where the weights are split."""
    is_split = mesh.sharded or mesh.tensor > 1
    return 0 if is_split else (numerics.weight - numerics.activation) * shape.linear


def copy_bytes(shape: ModelShape, numerics: Numerics, mesh: Mesh, checkpointing: Checkpointing) -> float:
    """Return the bytes of the copies that a strategy or autocast makes of weights and gradients.

    DDP: w x trainable, its buckets of gradients. FSDP2: what is gathered, two layers' weights, one layer's gradients
    and all that is in no layer: w (2 + 1 if trained) layer + w rest. Autocast: a x the matrices of the layers, until
    the backward; of a frozen matrix under checkpointing, and under FSDP2, of one layer only; none of a matrix under
    adapters, nor of theirs.
    """
    layer = shape.layer_parameters / shape.layers / mesh.tensor
    if mesh.sharded:
        rest = shape.parameters - shape.layer_parameters
        gathered = numerics.weight * ((3 if shape.full else 2) * layer + rest)
        return gathered + (numerics.activation * layer if numerics.mixed else 0)
    buckets = numerics.weight * shape.trainable / mesh.tensor if mesh.data > 1 else 0
    if shape.joint or (numerics.is_narrow and not shape.full):
        layer = max(layer - (shape.linear + shape.trainable) / shape.layers, 0.0)
    copied = layer if recomputes_layers(checkpointing) and not shape.full else layer * shape.layers
    return buckets + (numerics.activation * copied if numerics.mixed else 0)


def layer_bytes(shape: ModelShape, numerics: Numerics, keys_per_token: float = 1.0, tensor: int = 1) -> float:
    """Return the bytes that one layer of a Llama keeps of a token for its backward.

        2 (4 D + w D [full] + 4)            the norms: input in float32, its normalised value where the norm is trained
        + a (2 or 5) D                      their outputs; autocast makes a copy for each of five matrices, but adapters
        + a (2 H + 2 G K / L) / t           queries, keys, values and output of the attention
        + a (4 or 2) F / t                  inside the MLP, with and without a gate
        + a 7 r [adapters]                  between the two matrices of an adapter

    Measured in `docs/scaling.md`: exact for Llama, a few per cent to 30 % off for other architectures.
    """
    a, hidden = numerics.activation, shape.hidden
    norms = 2 * (4 * hidden + (numerics.weight * hidden if shape.full else 0) + 4)
    outputs = a * (5 if numerics.mixed and not shape.joint else 2) * hidden
    attention = a * 2 * (shape.heads + shape.groups * keys_per_token) / tensor
    inner = a * (4 if shape.gated else 2) * shape.inner / tensor
    return norms + outputs + attention + inner + a * 7 * shape.rank


def products_bytes(shape: ModelShape, numerics: Numerics, tensor: int = 1) -> float:
    """Return the bytes that `selective` keeps of a token in one layer, beside the layer's input.

    a (2 H + 2 G + F [gate] + F) / t    queries, keys, values, output of the attention, inside the MLP
    + a 2 D                             the two products that are added to the residual stream
    """
    inner = (2 if shape.gated else 1) * shape.inner
    return numerics.activation * ((2 * shape.heads + 2 * shape.groups + inner) / tensor + 2 * shape.hidden)


def activation_bytes(
    shape: ModelShape, work: Workload, numerics: Numerics, checkpointing: Checkpointing, tensor: int = 1
) -> float:
    """Return the bytes that L tokens keep for the backward: layers x `layer_bytes` + 8 D for the last norm.

    With checkpointing a layer keeps w D, none of it on the device where that is offloaded; `selective` keeps
    `products_bytes` besides. One layer at a time is recomputed, and has gradients of the same size.
    The flash kernel, which bfloat16 on a GPU gets in the tree layout, keeps K keys and values; everything else L.
    """
    keys = work.keys / work.tokens if work.tree and numerics.activation == 2 else 1.0
    layer = layer_bytes(shape, numerics, keys, tensor)
    kept = 0.0 if checkpointing == "offload" else float(numerics.weight * shape.hidden)
    if checkpointing == "selective":
        kept += products_bytes(shape, numerics, tensor)
    layers = shape.layers * kept + 2 * layer if checkpointing else shape.layers * layer
    return work.tokens * (layers + 8 * shape.hidden)


def head_bytes(
    shape: ModelShape, work: Workload, numerics: Numerics, device_type: str = "cuda", kept: int = LEAST_KEPT
) -> float:
    """Return the bytes of the head, which is computed in tiles and never has [N, V] logits in float32.

    (a + 4) N D                         its input, and the gradient that the forward finds out
    + min(a N V, kept) [trained]        probabilities kept for the backward
    + (a + 4) min(tile, rows V)         the logits of a tile; in half precision on a GPU a min(rows, N) columns
    + 4 V D [trained]                   the weight's gradient in float32; there w V D, and 4 columns D

    `kept`, `tile`, `rows` and `columns` are the sizes of `logprobs/tiling.py`.
    """
    a, scored, vocabulary = numerics.activation, work.scored, shape.vocabulary
    if device_type == "cuda" and a == 2:
        tile = a * min(scored, TILING.fused_rows) * WIDEST
        gradient = (numerics.weight * vocabulary + 4 * WIDEST) * shape.hidden
    else:
        logits = min(TILING.tile_logits(device_type), min(scored, TILING.rows) * vocabulary)
        tile, gradient = logits * (a + 4 if a < 4 else a), 4 * vocabulary * shape.hidden
    trained = min(a * scored * vocabulary, kept) + gradient
    return (a + 4) * scored * shape.hidden + tile + (trained if shape.head_trained else 0)
