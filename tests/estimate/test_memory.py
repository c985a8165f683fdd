"""Bytes of a device: bookkeeping by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import memory_check
from dpo_lightning.estimate import Mesh, Numerics, State, Workload, device_memory, memory, model_shape
from dpo_lightning.logprobs.tiling import LEAST_KEPT, TILING, WIDEST
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions

FULL = State(reference_copies=1, reference_adapters=0, optimizer=2.0, checkpointing=False)
WORK = Workload(4, 50, 30)
SINGLE = Numerics.of("32-true")


@pytest.mark.parametrize(
    ("precision", "weight", "activation"), [("32-true", 4, 4), ("bf16-mixed", 4, 2), ("bf16-true", 2, 2), ("64", 8, 8)]
)
def test_bytes_of_a_precision(precision, weight, activation):
    numerics = Numerics.of(precision)
    assert (numerics.weight, numerics.activation) == (weight, activation)
    assert numerics.mixed == (precision == "bf16-mixed")


def test_sharding_divides_what_stays_and_nothing_else(llama):
    shape = model_shape(llama, PolicyOptions())
    one, many = (device_memory(shape, WORK, SINGLE, FULL, mesh) for mesh in (Mesh(), Mesh(8, sharded=True)))
    for term in ("policy", "reference", "gradients", "optimizer"):
        assert getattr(many, term) == pytest.approx(getattr(one, term) / 8)
    assert (many.activations, many.head) == (one.activations, one.head)
    assert one.total == 5 * one.policy + max(one.activations + one.head, one.update)


@pytest.mark.parametrize(
    ("mesh", "options", "narrow"),
    [
        (Mesh(), {}, True),
        (Mesh(2), {}, True),
        (Mesh(2, sharded=True), {}, False),
        (Mesh(1, 2), {}, False),
        (Mesh(), {"lora": LoRA(r=2)}, False),
    ],
    ids=["one", "ddp", "fsdp2", "tensor", "adapters"],
)
def test_a_copy_has_its_linear_layers_in_the_dtype_of_their_products(llama, mesh, options, narrow):
    shape, plain = model_shape(llama, PolicyOptions(**options)), model_shape(llama, PolicyOptions())
    mixed = Numerics.of("bf16-mixed")
    outside = plain.vocabulary * plain.hidden + (2 * plain.layers + 1) * plain.hidden  # the embedding, and the norms
    assert plain.linear == plain.parameters - outside
    expected = 2 * plain.linear + 4 * outside if narrow else 4 * shape.parameters
    assert memory.reference_bytes(shape, mixed, mesh) == expected
    assert memory.reference_bytes(shape, SINGLE, mesh) == 4 * shape.parameters


def test_tensor_parallelism_divides_the_layers(llama):
    shape = model_shape(llama, PolicyOptions())
    half = device_memory(shape, WORK, SINGLE, FULL, Mesh(1, 2))
    assert half.policy == pytest.approx(4 * (shape.parameters - shape.layer_parameters / 2))


@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
def test_the_head_holds_a_tile_and_the_probabilities_that_are_kept(llama, device_type):
    shape, work = model_shape(llama, PolicyOptions()), WORK._replace(pairs=2000)
    tile = min(TILING.tile_logits(device_type), TILING.rows * shape.vocabulary)
    kept = min(4 * work.scored * shape.vocabulary, LEAST_KEPT)
    hidden = (4 + 4) * work.scored * shape.hidden
    gradient = 4 * shape.vocabulary * shape.hidden
    assert memory.head_bytes(shape, work, SINGLE, device_type) == hidden + 4 * tile + kept + gradient


def test_what_checkpointing_keeps(llama):
    shape, layer = model_shape(llama, PolicyOptions()), memory.layer_bytes
    kept = {mode: memory.activation_bytes(shape, WORK, SINGLE, mode) for mode in (False, True, "selective", "offload")}
    inputs, once = WORK.tokens * shape.layers * 4 * shape.hidden, WORK.tokens * 2 * layer(shape, SINGLE)
    assert kept["offload"] == once + WORK.tokens * 8 * shape.hidden
    assert kept[True] == kept["offload"] + inputs
    products = 4 * (2 * shape.heads + 2 * shape.groups + 2 * shape.inner + 2 * shape.hidden)
    assert kept["selective"] == kept[True] + WORK.tokens * shape.layers * products


@pytest.mark.parametrize("change", [{}, {"lora": True, "precision": "bf16-mixed"}], ids=["full", "lora-mixed"])
def test_selective_needs_what_the_formula_says(change):
    case = {**memory_check.CASES[0], **change, "checkpointing": "selective"}
    predicted, measured = memory_check.predict(case), memory_check.measure(case)
    assert measured["peak"] < predicted["peak"] < 1.25 * measured["peak"]


def test_in_half_precision_a_gpu_keeps_a_part_of_its_memory_and_no_gradient_in_float32(llama):
    shape, work = replace(model_shape(llama, PolicyOptions()), vocabulary=10**5), WORK._replace(pairs=10**4)
    least, more = (
        device_memory(shape, work, Numerics.of("bf16-true"), FULL, Mesh(), gigabytes * 1e9).head
        for gigabytes in (1, 80)
    )
    assert more - least == 80e9 / 20 - LEAST_KEPT
    tile, gradient = 2 * TILING.fused_rows * WIDEST, (2 * 10**5 + 4 * WIDEST) * shape.hidden
    assert least == (2 + 4) * work.scored * shape.hidden + tile + LEAST_KEPT + gradient
