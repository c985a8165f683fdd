"""Bytes of a device: bookkeeping by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks import memory_check
from dpo_lightning.estimate import Mesh, Numerics, State, Workload, device_memory, memory, model_shape
from dpo_lightning.logprobs.tiling import LEAST_KEPT, TILING, WIDEST
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions
from tests.helpers.runs import saved_model

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


@pytest.mark.parametrize(
    ("saved", "mesh", "narrow"),
    [
        (torch.bfloat16, Mesh(2), True),
        (torch.bfloat16, Mesh(2, sharded=True), False),
        (torch.float16, Mesh(), False),
        (None, Mesh(), False),
    ],
)
def test_layers_under_adapters_are_as_narrow_as_their_checkpoint(llama, saved, mesh, narrow):
    shape, plain = model_shape(llama, PolicyOptions(lora=LoRA(r=2))), model_shape(llama, PolicyOptions())
    mixed = Numerics.of("bf16-mixed", saved=saved)
    assert shape.linear == plain.linear - plain.vocabulary * plain.hidden  # without the head
    expected = 4 * shape.parameters - (2 * shape.linear if narrow else 0)
    assert memory.policy_bytes(shape, mixed, mesh) == memory.reference_bytes(shape, mixed, mesh) == expected
    assert memory.policy_bytes(plain, mixed, mesh) == 4 * plain.parameters  # what is trained is never narrow
    held = device_memory(shape, WORK, mixed, FULL, mesh)
    assert held.policy == held.reference == pytest.approx(expected / (2 if mesh.sharded else 1))


def test_autocast_keeps_no_copy_of_a_matrix_under_adapters(llama):
    mixed = Numerics.of("bf16-mixed")
    norms = 2 * model_shape(llama, PolicyOptions()).hidden
    for target in ("all-linear", ["q_proj"]):
        shape = model_shape(llama, PolicyOptions(lora=LoRA(r=2, target_modules=target)))
        others = shape.layer_parameters - shape.trainable - shape.linear
        assert memory.copy_bytes(shape, mixed, Mesh(), False) == pytest.approx(2 * others)
        assert (others == shape.layers * norms) == (target == "all-linear")


def test_a_reference_that_moves_is_wide_and_what_moves_it_is_counted(llama):
    shape, mixed = model_shape(llama, PolicyOptions()), Numerics.of("bf16-mixed")
    moved = FULL._replace(moved=True, kept=1.5)
    assert device_memory(shape, WORK, mixed, moved, Mesh()).reference == (1 + 1.5) * 4 * shape.parameters
    adapters = moved._replace(reference_copies=0, reference_adapters=1)
    adapted = model_shape(llama, PolicyOptions(lora=LoRA(r=2)))
    assert device_memory(adapted, WORK, mixed, adapters, Mesh()).reference == (1 + 1.5) * 4 * adapted.trainable


def test_another_checkpoint_has_sizes_of_its_own(llama, tmp_path):
    other = model_shape(saved_model(tmp_path, hidden_size=32, tie_word_embeddings=False), PolicyOptions())
    shape, mixed = model_shape(llama, PolicyOptions(lora=LoRA(r=2))), Numerics.of("bf16-mixed")
    held = device_memory(shape, WORK, mixed, FULL, Mesh(), reference=other)
    assert held.reference == 4 * other.parameters - 2 * other.linear != held.policy


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


@pytest.mark.parametrize("settings", [{"dropout": 0.1}, {"use_dora": True}])
def test_layers_that_peft_computes_keep_a_copy_of_each_frozen_matrix(llama, settings):
    mixed = Numerics.of("bf16-mixed")
    joint, apart = (model_shape(llama, PolicyOptions(lora=LoRA(r=4, **each))) for each in ({}, settings))
    none, some = (memory.copy_bytes(shape, mixed, Mesh(), False) for shape in (joint, apart))
    assert some - none >= 2 * joint.linear
    narrow = mixed._replace(is_narrow=True)  # which multiplies with the weights as they are
    assert memory.copy_bytes(apart, narrow, Mesh(), False) < some - 2 * joint.linear + 1
