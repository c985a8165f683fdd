"""The formulas, against counting by hand and against real models."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from dpo_lightning.batch import TokenizedPair, collate_padded, collate_tree
from dpo_lightning.errors import InputError
from dpo_lightning.estimate import (
    GPUS,
    Mesh,
    Numerics,
    State,
    Workload,
    device_memory,
    memory,
    model_shape,
    step_flops,
    step_sent,
)
from dpo_lightning.policy.loading import LoRA, PolicyOptions
from tests.helpers.runs import saved_model

FULL = State(reference_copies=1, reference_adapters=0, optimizer=2.0, checkpointing=False)
WORK = Workload(4, 50, 30)
SINGLE = Numerics.of("32-true")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved_model(tmp_path_factory.mktemp("llama"), tie_word_embeddings=False)


@pytest.mark.parametrize("tree", [True, False])
def test_tokens_are_those_of_a_batch(tree):
    pairs = [TokenizedPair(i, [1] * 50, [2] * 30, [3] * 30) for i in range(4)]
    batch = (collate_tree if tree else collate_padded)(pairs)
    work = WORK._replace(tree=tree)
    assert work.tokens == batch.input_ids.numel()
    assert work.scored == len(batch.targets)
    if batch.tree is not None:
        assert work.keys == len(batch.tree.key_index)


@pytest.mark.parametrize("tree", [True, False])
def test_attended_pairs_are_those_of_the_mask(tree):
    prompt, completion = 300, 200
    sequence = sum(range(1, prompt + completion + 1))
    prompt_again = sum(range(1, prompt + 1)) if tree else 0
    exact = 2 * sequence - prompt_again
    assert Workload(1, prompt, completion, tree).attended == pytest.approx(exact, rel=0.01)


def test_the_shape_of_a_model_is_that_of_its_weights(llama):
    model = AutoModelForCausalLM.from_pretrained(llama)
    shape = model_shape(llama, PolicyOptions())
    count = sum(parameter.numel() for parameter in model.parameters())
    assert (shape.parameters, shape.trainable) == (count, count)
    assert shape.layer_parameters == sum(p.numel() for p in model.model.layers.parameters())
    assert (shape.layers, shape.hidden, shape.heads, shape.groups, shape.inner) == (2, 32, 32, 16, 48)
    assert shape.gated
    assert shape.full
    assert shape.head_trained
    assert shape.active_parameters == shape.layer_parameters


def test_adapters_are_what_is_trained(llama):
    shape = model_shape(llama, PolicyOptions(lora=LoRA(r=3)))
    matrices = [(32, 32), (32, 16), (32, 16), (32, 32), (32, 48), (32, 48), (48, 32)]
    assert shape.trainable == 2 * sum(3 * (inputs + outputs) for inputs, outputs in matrices)
    assert shape.rank == 3
    assert not shape.full
    assert not shape.head_trained


def test_quantized_matrices_are_counted_without_adapters_and_head(llama):
    shape = model_shape(llama, PolicyOptions(lora=LoRA(r=3), quantization_config={"load_in_4bit": True}))
    assert shape.quantized == 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48)
    numerics = Numerics.of("bf16-true", 0.5)
    assert memory.weight_bytes(shape, numerics) == 2 * (shape.parameters - shape.quantized) + shape.quantized / 2


def _config(folder: Path, architecture: str, **sizes: object) -> str:
    AutoConfig.for_model(architecture, **sizes).save_pretrained(folder)
    return str(folder)


def test_a_token_visits_some_of_the_experts(tmp_path):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes |= {"vocab_size": 64, "intermediate_size": 48, "num_local_experts": 8, "num_experts_per_tok": 2}
    shape = model_shape(_config(tmp_path, "mixtral", **sizes), PolicyOptions())
    experts = 2 * 8 * 3 * 32 * 48
    assert shape.layer_parameters - shape.active_parameters == experts * 6 // 8
    assert shape.inner == 2 * 48


def test_a_model_without_a_gate(tmp_path):
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 64, "bos_token_id": 1, "eos_token_id": 1}
    shape = model_shape(_config(tmp_path, "gpt2", **sizes), PolicyOptions())
    assert (shape.gated, shape.inner, shape.groups) == (False, 128, 32)


def test_a_model_without_layers_is_refused(tmp_path, monkeypatch):
    name = _config(tmp_path, "gpt2", n_embd=32, n_layer=3, n_head=4, vocab_size=64, bos_token_id=1, eos_token_id=1)
    monkeypatch.setattr("dpo_lightning.estimate.shape.nn.ModuleList", tuple)
    with pytest.raises(InputError, match="has no list of 3 decoder layers"):
        model_shape(name, PolicyOptions())


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


def test_tensor_parallelism_divides_the_layers(llama):
    shape = model_shape(llama, PolicyOptions())
    half = device_memory(shape, WORK, SINGLE, FULL, Mesh(1, 2))
    assert half.policy == pytest.approx(4 * (shape.parameters - shape.layer_parameters / 2))


def test_operations_of_a_step(llama):
    shape = model_shape(llama, PolicyOptions())
    body = 2 * shape.layer_parameters * WORK.tokens + 4 * 32 * WORK.attended * 2
    head = 2 * 64 * 32 * WORK.scored
    assert step_flops(shape, WORK, FULL, reference_forward=True) == 4 * body + 4 * head
    assert step_flops(shape, WORK, FULL, reference_forward=False) == 3 * body + 3 * head
    checkpointed = FULL._replace(checkpointing=True)
    twice = WORK._replace(accumulate=2)
    assert step_flops(shape, twice, checkpointed, reference_forward=False) == 2 * (4 * body + 3 * head)
    adapted = model_shape(llama, PolicyOptions(lora=LoRA(r=3)))
    body = 2 * adapted.layer_parameters * WORK.tokens + 4 * 32 * WORK.attended * 2
    adapters = 2 * adapted.trainable * WORK.tokens
    assert step_flops(adapted, WORK, FULL, reference_forward=True) == 3 * body + adapters + 3 * head


def test_bytes_sent(llama):
    shape = model_shape(llama, PolicyOptions())
    weights = 4 * shape.parameters

    def sent(mesh: Mesh, *, reference_forward: bool = True, accumulate: int = 1) -> tuple[float, float]:
        work = WORK._replace(accumulate=accumulate)
        return step_sent(shape, work, SINGLE, FULL, mesh, reference_forward=reference_forward)

    assert sent(Mesh()) == (0, 0)
    assert sent(Mesh(4)) == sent(Mesh(4), accumulate=3) == (2 * 3 / 4 * weights, 0)
    assert sent(Mesh(4, sharded=True)) == (3 / 4 * 4 * weights, 0)
    assert sent(Mesh(4, sharded=True), reference_forward=False, accumulate=2) == (2 * 3 / 4 * 3 * weights, 0)
    row = WORK.tokens * 32 * 4
    assert sent(Mesh(1, 2), reference_forward=False) == (0, 2 * 1 / 2 * 4 * 2 * row)


def test_nodes_are_joined_by_slower_links(llama):
    shape = model_shape(llama, PolicyOptions())
    near, far = (
        step_sent(shape, WORK, SINGLE, FULL, mesh, reference_forward=False).seconds(GPUS["H100"], mesh) / (n - 1) * n
        for n, mesh in ((8, Mesh(8)), (16, Mesh(16)))
    )
    assert far / near == pytest.approx(450 / 50)
