"""Operations and bytes sent of a step: bookkeeping by hand."""

from __future__ import annotations

import pytest

from dpo_lightning.estimate import GPUS, Mesh, Numerics, State, Workload, model_shape, step_flops, step_sent
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions

FULL = State(reference_copies=1, reference_adapters=0, optimizer=2.0, checkpointing=False)
WORK = Workload(4, 50, 30)
SINGLE = Numerics.of("32-true")


def test_operations_of_a_step(llama):
    shape = model_shape(llama, PolicyOptions())
    body = 2 * shape.layer_parameters * WORK.tokens + 4 * 32 * WORK.attended * 2
    head = 2 * 64 * 32 * WORK.scored
    assert step_flops(shape, WORK, FULL, reference_forward=True) == 4 * body + 4 * head
    assert step_flops(shape, WORK, FULL, reference_forward=False) == 3 * body + 3 * head
    checkpointed = FULL._replace(checkpointing=True)
    for mode, products in (("offload", 4), ("selective", 3)):
        state = FULL._replace(checkpointing=mode)
        assert step_flops(shape, WORK, state, reference_forward=False) == products * body + 3 * head
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
