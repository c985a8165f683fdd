"""`dpo-lightning plan`: memory, time and traffic of a run, from its config alone."""

from __future__ import annotations

import inspect
import pkgutil
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch.cli import instantiate_class

from dpo_lightning import AnyObjective, PreferenceDataModule, Reads
from dpo_lightning.callbacks.moving_reference import MovingReference
from dpo_lightning.cli.data_of_config import DataCLI
from dpo_lightning.cli.parsers.plan import parser
from dpo_lightning.cli.plan_table import Run, show
from dpo_lightning.cli.trainer import run_trainer
from dpo_lightning.data.tokenize.loading import load_tokenizer
from dpo_lightning.data.tokenize.vocabulary import Vocabulary
from dpo_lightning.errors import InputError
from dpo_lightning.estimate import GPUS, ModelShape, Numerics, State, Workload, model_shape
from dpo_lightning.policy.initialisation import moves_base
from dpo_lightning.policy.loading import adapter_config, load_config
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.precision import precision_of
from dpo_lightning.policy.prepare import PolicyOptions
from dpo_lightning.reference import (
    AdapterOff,
    Followed,
    FrozenAdapter,
    FrozenCopy,
    NoReference,
    Reference,
    default_reference_type,
)
from dpo_lightning.utils.settings import at_least
from dpo_lightning.utils.text import one_line

_DEFAULTS = inspect.signature(PreferenceDataModule).parameters


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
    show(read_run(config), config)


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
    shape = _shape_of(model.policy, options)
    _check_tokens(model.policy, config.data.init_args, shape)
    adapter = adapter_config(model.policy)
    reference = _reference(model, trained_adapter=adapter is not None)
    is_as_saved = options.lora is None or (adapter is None and not moves_base(options.lora.init_lora_weights))
    saved = load_config(model.policy, model.model_kwargs).dtype if is_as_saved else None
    precision = str(config.trainer.precision or "32-true")
    numerics = Numerics.of(precision, _quantized_bytes(model.quantization_config or {}), saved)
    kept = _kept_by_mover(config.trainer.callbacks, precision_of(precision).weights)
    return Run(
        shape,
        _workload(config),
        numerics,
        State(
            reference_copies=int(issubclass(reference, FrozenCopy)),
            reference_adapters=int(issubclass(reference, FrozenAdapter)),
            optimizer=optimizer_states(model.optimizer),
            checkpointing=model.gradient_checkpointing,
            moved=kept is not None,
            kept=kept or 0.0,
        ),
        reference,
        issubclass(reference, (FrozenCopy, AdapterOff, FrozenAdapter)),
        _other_shape(model.reference) if issubclass(reference, FrozenCopy) else None,
    )


def _shape_of(policy: str, options: PolicyOptions) -> ModelShape:
    """Return the sizes of the policy; of one that is not there, say what is enough."""
    try:
        return model_shape(policy, options)
    except InputError as error:
        if Path(policy).is_dir():
            raise
        raise InputError(
            f"{error}; for a plan, a directory with its config.json will do: --model.policy=DIR"
        ) from error


def _other_shape(reference: Namespace | None) -> ModelShape | None:
    """Return the sizes of the checkpoint that is the reference; None for a copy of the policy."""
    given = {} if reference is None else reference.get("init_args", {})
    checkpoint = given.get("checkpoint")
    if checkpoint is None:
        return None
    shape = model_shape(checkpoint, PolicyOptions(model_kwargs=given.get("model_kwargs")))
    return shape if shape.full else replace(shape, linear=0)  # one with adapters stays as it is loaded


def _kept_by_mover(callbacks: Any, dtype: torch.dtype) -> float | None:
    """Measure the bytes that a callback which moves the reference keeps for each byte of a weight; None without one."""
    weight = Followed(*torch.zeros(2, 64, 64, dtype=dtype))
    for each in [callbacks] if isinstance(callbacks, Namespace) else callbacks or []:
        kind = pkgutil.resolve_name(each.class_path)
        if inspect.isclass(kind) and issubclass(kind, MovingReference):
            kept = instantiate_class((), each.as_dict()).keep({"weight": weight})
            return sum(value.nbytes for values in kept.values() for value in values.values()) / weight.policy.nbytes
    return None


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
