"""`dpo-lightning plan`: memory, time and traffic of a run, from its config alone."""

from __future__ import annotations

import inspect
import pkgutil
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch.cli import instantiate_class
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dpo_lightning import AnyObjective, PreferenceDataModule, Reads
from dpo_lightning.cli.data_of_config import DataCLI
from dpo_lightning.cli.parsers.plan import parser
from dpo_lightning.cli.trainer import run_trainer
from dpo_lightning.data.tokenize.loading import load_tokenizer
from dpo_lightning.data.tokenize.vocabulary import Vocabulary
from dpo_lightning.errors import InputError
from dpo_lightning.estimate import (
    GPUS,
    Memory,
    Mesh,
    ModelShape,
    Numerics,
    State,
    Workload,
    device_memory,
    model_shape,
    step_flops,
    step_sent,
)
from dpo_lightning.policy.loading import adapter_config
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions
from dpo_lightning.policy.recompute import recomputes_layers
from dpo_lightning.reference import (
    AdapterOff,
    FrozenAdapter,
    FrozenCopy,
    NoReference,
    Reference,
    default_reference_type,
)
from dpo_lightning.utils.settings import at_least
from dpo_lightning.utils.text import one_line, shown

_TERMS = ("policy", "reference", "gradients", "optimizer", "copies", "activations", "head", "update")
_TENSOR_PARALLEL = 8
_DEFAULTS = inspect.signature(PreferenceDataModule).parameters


class Run(NamedTuple):
    """The part of a config that its cost depends on."""

    shape: ModelShape
    work: Workload
    numerics: Numerics
    state: State
    reference: type[Reference]
    reference_forward: bool


def plan(words: Sequence[str]) -> None:
    """Print memory, time and traffic that the run of a config would need; loads neither weights nor rows.

    Args:
        words: As for `fit`, and `--gpu`, `--devices`, `--utilization`, `--prompt_tokens`, `--completion_tokens`.

    Raises:
        InputError: for a model whose config cannot be read, or an optimizer that cannot be built.
    """
    options, settings = parser().parse_known_args(words)
    known = {name.lower(): name for name in GPUS}
    if options.gpu.lower() not in known:
        raise InputError(f"plan: --gpu {options.gpu} is not known; there are {', '.join(GPUS)}")
    options.gpu = known[options.gpu.lower()]
    with warnings.catch_warnings():
        # The words in place of `plan` are meant.
        warnings.filterwarnings("ignore", "LightningCLI's args parameter")
        config = run_trainer(["fit", *settings], DataCLI).config["fit"]
    for name, value in vars(options).items():
        config[name] = value
    if not 0 < config.utilization <= 1 or (config.devices is not None and config.devices < 1):
        raise InputError("plan: --utilization is between 0 and 1, and --devices at least 1")
    for name in ("prompt_tokens", "completion_tokens"):
        if config[name] is not None:
            at_least(1).check(f"plan: --{name}", config[name])
    _show(read_run(config), config)


def read_run(config: Namespace) -> Run:
    """Find out the sizes of a run from the parsed config of `fit`."""
    model = config.model.init_args
    options = PolicyOptions(
        lora=LoRA(**model.lora.as_dict()) if model.lora else None,
        quantization_config=model.quantization_config,
        model_kwargs=model.model_kwargs,
        gradient_checkpointing=model.gradient_checkpointing,
    )
    if not isinstance(model.policy, str):
        raise InputError(f"plan: model.policy must be a hub name or a directory, got {type(model.policy).__name__}")
    shape = model_shape(model.policy, options)
    _check_tokens(model.policy, config.data.init_args, shape)
    reference = _reference(model, trained_adapter=adapter_config(model.policy) is not None)
    precision = str(config.trainer.precision or "32-true")
    return Run(
        shape,
        _workload(config),
        Numerics.of(precision, _quantized_bytes(model.quantization_config or {})),
        State(
            reference_copies=int(issubclass(reference, FrozenCopy)),
            reference_adapters=int(issubclass(reference, FrozenAdapter)),
            optimizer=optimizer_states(model.optimizer),
            checkpointing=model.gradient_checkpointing,
        ),
        reference,
        issubclass(reference, (FrozenCopy, AdapterOff, FrozenAdapter)),
    )


def _check_tokens(policy: str, data: Namespace, shape: ModelShape) -> None:
    """Refuse a tokenizer that the run would refuse; one that is not there is left to the run, unless it is named."""
    named = data.get("tokenizer")
    try:
        tokenizer = load_tokenizer(named or policy, data.get("chat_template"))
    except InputError:
        if named:
            raise
        return
    Vocabulary(tokenizer, shape.vocabulary).check()


def _reference(model: Namespace, trained_adapter: bool) -> type[Reference]:
    """Find out the class of the run's reference, without making one."""
    if Reads.REFERENCE not in _objective(model).reads:
        return NoReference
    if model.reference is not None:
        return pkgutil.resolve_name(model.reference.class_path)
    return default_reference_type(trained_adapter or bool(model.lora), trained_adapter and not model.lora)


def _objective(model: Namespace) -> AnyObjective:
    parser = ArgumentParser()
    parser.add_argument("--objective", type=AnyObjective)
    return parser.instantiate(Namespace(objective=model.objective)).objective


def _workload(config: Namespace) -> Workload:
    """Return a micro-batch of the longest pairs that the config allows, unless lengths are given."""
    data = config.data.init_args
    longest = data.get("max_length") or _DEFAULTS["max_length"].default
    prompt = config.prompt_tokens or data.get("max_prompt_length") or longest // 2
    completion = config.completion_tokens or max(longest - prompt, 1)
    objective = _objective(config.model.init_args)
    computed = objective.compares.usual_completions + (Reads.MISMATCHED in objective.reads)
    if budget := data.get("batch_tokens"):
        pairs = max(budget // (prompt + computed * completion), 1)
    else:
        pairs = data.get("batch_pairs") or pkgutil.resolve_name(config.data.class_path).default_batch_pairs
    tree = data.get("layout") != "padded"
    return Workload(pairs, prompt, completion, tree, config.trainer.accumulate_grad_batches, computed)


def _quantized_bytes(settings: dict[str, Any]) -> float:
    """Return the bytes of a weight: 8 bits; or 4 and a constant per block of 64, in 8 bits where it is quantized too.

    Source: arXiv:2305.14314, section 3.
    """
    if not settings.get("load_in_4bit"):
        return 1.0
    constant = 1 / 64 + 4 / (64 * 256) if settings.get("bnb_4bit_use_double_quant") else 4 / 64
    return 0.5 + constant


def optimizer_states(optimizer: Namespace) -> float:
    """Measure the bytes that an optimizer keeps for each byte of a trained weight, by a step on one small matrix.

    Raises:
        InputError: when it cannot be built from its arguments.
    """
    weight = torch.nn.Parameter(torch.zeros(64, 64))
    weight.grad = torch.ones_like(weight)
    try:
        built = instantiate_class(([weight],), optimizer.as_dict())
        built.step()
    except Exception as error:  # any class can stand there
        raise InputError(f"plan: {optimizer.class_path}: {one_line(error)}") from error
    kept = [value for value in built.state[weight].values() if isinstance(value, torch.Tensor) and value.ndim]
    return sum(value.nbytes for value in kept) / weight.nbytes


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


def _show(run: Run, config: Namespace) -> None:
    shape, work, device = run.shape, run.work, GPUS[config.gpu]
    columns = list(meshes(config.devices, shape))
    held = device.gigabytes * 1e9
    needed = [device_memory(shape, work, run.numerics, run.state, mesh, held) for _, mesh in columns]
    table = Table("GB a GPU", *(name for name, _ in columns))
    for term in _TERMS:
        table.add_row(term, *(f"{getattr(memory, term) / 1e9:.1f}" for memory in needed))
    fits = [memory.total <= held for memory in needed]
    table.add_row(f"peak, of {device.gigabytes:g}", *(f"{memory.total / 1e9:.1f}" for memory in needed))
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
    trained = "all" if shape.trainable == shape.parameters else f"{shape.trainable / 1e6:.1f} M"
    return (
        f"{config.model.init_args.policy}: {shape.parameters / 1e9:.3g} B parameters, {trained} trained; "
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
    return {
        "pairs/step": [str(run.work.pairs * run.work.accumulate * mesh.data) for mesh in columns],
        "TFLOP/step": [f"{each / 1e12:,.1f}" for each in flops],
        "GB sent/step": [f"{(each.data + each.tensor) / 1e9:,.1f}" for each in sent],
        "s computing": [f"{each / peak / config.utilization:.2f}" for each in flops],
        "s sending": [f"{each.seconds(device, mesh):.2f}" for each, mesh in zip(sent, columns, strict=True)],
    }


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
