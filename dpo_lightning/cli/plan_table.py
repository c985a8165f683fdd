"""The table that `dpo-lightning plan` prints: memory, time and traffic for each mesh."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from jsonargparse import Namespace
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dpo_lightning.estimate import (
    GPUS,
    Memory,
    Mesh,
    ModelShape,
    Numerics,
    State,
    Workload,
    device_memory,
    step_flops,
    step_sent,
)
from dpo_lightning.policy.recompute import recomputes_layers
from dpo_lightning.reference import Reference
from dpo_lightning.report.words import counted
from dpo_lightning.utils.text import shown

_TERMS = ("policy", "reference", "gradients", "optimizer", "copies", "activations", "head", "update")
_TENSOR_PARALLEL = 8
_BYTES = {"GB": 1e9, "MB": 1e6}
_OPERATIONS = {"TFLOP": 1e12, "GFLOP": 1e9}
_SECONDS = {"s": 1.0, "ms": 1e-3}


class Run(NamedTuple):
    """The part of a config that its cost depends on.

    Attributes:
        shape: Sizes of the policy.
        work: A micro-batch.
        numerics: Bytes of numbers.
        state: What is kept beside the policy.
        reference: Class of the reference.
        reference_forward: Whether it scores in the step.
        reference_shape: Sizes of another checkpoint that it is; None for the policy's own.
    """

    shape: ModelShape
    work: Workload
    numerics: Numerics
    state: State
    reference: type[Reference]
    reference_forward: bool
    reference_shape: ModelShape | None


def meshes(devices: int | None, shape: ModelShape) -> Iterator[tuple[str, Mesh]]:
    """Yield the meshes that `fit` does not refuse, with their names: quantized weights and adapters have fewer."""
    can_split = not shape.quantized and shape.full and shape.head_groups % _TENSOR_PARALLEL == 0
    for count in (1, 8, 64) if devices is None else (devices,):
        if count == 1:
            yield "1 GPU", Mesh()
            continue
        yield f"{count} DDP", Mesh(count)
        if not shape.quantized:
            yield f"{count} FSDP2", Mesh(count, sharded=True)
        if can_split and count > _TENSOR_PARALLEL and count % _TENSOR_PARALLEL == 0:
            yield (
                f"{count} FSDP2×TP{_TENSOR_PARALLEL}",
                Mesh(count // _TENSOR_PARALLEL, _TENSOR_PARALLEL, sharded=True),
            )


def show(run: Run, config: Namespace) -> None:
    """Print the table, which of its meshes fits first, and what it assumes; `config` is that of `fit`, with options."""
    shape, work, device = run.shape, run.work, GPUS[config.gpu]
    columns = list(meshes(config.devices, shape))
    held = device.gigabytes * 1e9
    needed = [
        device_memory(shape, work, run.numerics, run.state, mesh, held, run.reference_shape) for _, mesh in columns
    ]
    unit = _unit([memory.total for memory in needed], _BYTES)
    size = _BYTES[unit]
    table = Table(f"{unit} a GPU", *(name for name, _ in columns))
    for term in _TERMS:
        table.add_row(term, *(f"{getattr(memory, term) / size:.1f}" for memory in needed))
    fits = [memory.total <= held for memory in needed]
    table.add_row(f"peak, of {held / size:g}", *(f"{memory.total / size:.1f}" for memory in needed))
    table.add_row("fits", *("yes" if fit else "no" for fit in fits), end_section=True)
    for label, values in _step_rows(run, config, [mesh for _, mesh in columns]).items():
        table.add_row(label, *values)
    console = Console()
    console.print(Text(shown(_title(run, config))), soft_wrap=True)
    console.print(table)
    first = next((name for (name, _), fit in zip(columns, fits, strict=True) if fit), None)
    console.print(f"the first that fits: {first}" if first else "none of these fits: " + _advice(run, needed[-1]))
    console.print(
        f"assumed: {work.pairs} pairs a micro-batch, prompts of {work.prompt} and completions of {work.completion} "
        f"tokens, {'tree' if work.tree else 'padded'} layout, {config.utilization:.0%} of the peak, sending not hidden "
        f"behind computing, {work.completions} computed of a prompt's completions; not counted: the CUDA context and "
        "fragments, usually 1 to 3 GB",
        soft_wrap=True,
    )


def _title(run: Run, config: Namespace) -> str:
    shape = run.shape
    trained = "all" if shape.trainable == shape.parameters else counted(shape.trainable)
    return (
        f"{config.model.init_args.policy}: {counted(shape.parameters)} parameters, {trained} trained; "
        f"reference {run.reference.__name__}; {config.trainer.precision or '32-true'}; {config.gpu}"
    )


def _step_rows(run: Run, config: Namespace, columns: Sequence[Mesh]) -> dict[str, list[str]]:
    """Return the table's rows on what an optimizer step computes and sends."""
    device, reference = GPUS[config.gpu], run.reference_forward
    peak = device.half_flops if run.numerics.activation == 2 else device.single_flops
    flops = [
        step_flops(run.shape, run.work, run.state, reference_forward=reference, tensor=mesh.tensor) for mesh in columns
    ]
    sent = [
        step_sent(run.shape, run.work, run.numerics, run.state, mesh, reference_forward=reference) for mesh in columns
    ]
    bytes_sent = [each.data + each.tensor for each in sent]
    sending = [each.seconds(device, mesh) for each, mesh in zip(sent, columns, strict=True)]
    return {
        "pairs/step": [str(run.work.pairs * run.work.accumulate * mesh.data) for mesh in columns],
        **_row("{}/step", flops, _OPERATIONS),
        **_row("{} sent/step", bytes_sent, _BYTES),
        **_row("{} computing", [each / peak / config.utilization for each in flops], _SECONDS, 2),
        **_row("{} sending", sending, _SECONDS, 2),
    }


def _row(label: str, values: Sequence[float], units: Mapping[str, float], digits: int = 1) -> dict[str, list[str]]:
    """Return a row of the table, in the unit that fits it, by its label with the unit's name."""
    unit = _unit(values, units)
    return {label.format(unit): [f"{value / units[unit]:,.{digits}f}" for value in values]}


def _unit(values: Sequence[float], units: Mapping[str, float]) -> str:
    """Return the first unit that the largest value has one of; the last one where it has less."""
    largest = max(values)
    return next((name for name, size in units.items() if largest >= size or not largest), [*units][-1])


def _advice(run: Run, memory: Memory) -> str:
    if memory.activations + memory.head > memory.total / 2:
        smaller = "smaller batches (data.batch_tokens)"
        return (
            smaller if recomputes_layers(run.state.checkpointing) else f"set model.gradient_checkpointing, or {smaller}"
        )
    ways = ["more GPUs"]
    if run.shape.full:
        ways.append("LoRA")
    if run.state.reference_copies:
        ways.append("the reference Precomputed")
    return " or ".join(ways)
