"""A config to begin with, each value with its reason."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]

from dpo_lightning.cli.methods import Method, learning_rate
from dpo_lightning.policy.precision import precision_of
from dpo_lightning.report.words import counted
from dpo_lightning.training.usual_rates import usual_rates

_EXAMPLES_A_STEP = 64
_FEW = 30  # optimizer steps that a pass over the data should at least have
_COLUMN = 44  # where comments begin
_LONGEST = 4096  # tokens of an example, whatever the model reads


@dataclass(frozen=True)
class Facts:
    """The facts that decide on a config.

    Attributes:
        model: Name or directory of the model.
        parameters: Number of its parameters.
        positions: Most tokens that it reads.
        dataset: The data, as `data.dataset` takes it.
        rows: Rows of the data.
        kind: What they are: pairs, labelled completions or lists.
        lengths: Tokens of prompt and its longest completion, of each example that was looked at.
        computed: Tokens of prompt and all completions, of which 99 % of the examples have no more.
        gpu: GiB of the GPU's memory; None on a CPU.
        bf16: Whether the GPU computes in bfloat16.
    """

    model: str
    parameters: int
    positions: int
    dataset: str
    rows: int
    kind: str
    lengths: Sequence[int]
    computed: int
    gpu: float | None = None
    bf16: bool = True

    @property
    def longest(self) -> int:
        """The tokens of which 99 % of the examples have no more."""
        return most_of(self.lengths)


@dataclass(frozen=True)
class Training:
    """The ways to train: `lora` trains adapters, `quantized` keeps the base in 4 bits below them."""

    lora: bool = False
    quantized: bool = False


def most_of(lengths: Sequence[int]) -> int:
    """Return the length that 99 % do not exceed."""
    return int(np.quantile(lengths, 0.99, method="higher"))


def starting_config(facts: Facts, method: Method, training: Training, run: str) -> str:
    """Return the config as YAML.

    Args:
        facts: What is known of model, data and machine.
        method: The objective.
        training: What of the model is trained.
        run: Directory for what the run writes.
    """
    lines = [
        f"# {method.name} on {facts.rows:,} rows ({facts.kind}), a model of {counted(facts.parameters)} parameters.",
        "# dpo-lightning fit --help has the most used keys, docs/cli.md all of them.",
        *_model(facts, method, training),
        *_data(facts),
        *_trainer(facts, training, run),
    ]
    return "\n".join(lines) + "\n"


def _line(depth: int, key: str, value: Any, why: str = "") -> str:
    written = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()
    text = f"{'  ' * depth}{key}: {written}"
    return f"{text:<{_COLUMN}} # {why}" if why else text


def _model(facts: Facts, method: Method, training: Training) -> Iterator[str]:
    yield "seed_everything: 0"
    yield "model:"
    yield _line(1, "policy", facts.model)
    yield "  objective:"
    yield _line(2, "class_path", method.name, "docs/objectives.md: equation and settings")
    if method.settings:
        yield _line(2, "init_args", method.settings, "with which it is the one of that name in TRL")
    if training.lora:
        yield "  lora:"
        yield _line(2, "r", 16, "rank of the update")
        yield _line(2, "alpha", 32, "the update is multiplied by alpha / r")
        yield _line(2, "target_modules", "all-linear", "every linear layer but the head")
    if training.quantized:
        yield "  quantization_config:"
        yield _line(2, "load_in_4bit", True, "" if facts.gpu else "on a CPU for trying alone: 4 bits are slow here")
        yield _line(2, "bnb_4bit_quant_type", "nf4")
        computes = str(precision_of(_precision(facts, training)).products).removeprefix("torch.")
        yield _line(2, "bnb_4bit_compute_dtype", computes, "as the precision below")
    if facts.parameters >= 1e9 or _length(facts) > 2048:
        yield _line(1, "gradient_checkpointing", True, "less memory, a third more time")
    rate = learning_rate(method.name, facts.parameters, adapters=training.lora)
    usual = usual_rates(method.name, adapted=training.lora, parameters=facts.parameters)
    to = "up" if usual.greatest == float("inf") else f"to {usual.greatest:.2g}"
    usually = f"usual on {'adapters' if training.lora else 'all weights'} is {usual.least:g} {to}"
    yield "  optimizer:"
    yield _line(2, "class_path", "torch.optim.AdamW")
    yield "    init_args:"
    yield _line(3, "lr", rate, f"{usually}; try a third and three times of it")
    yield _line(3, "weight_decay", 0.0)
    yield _line(1, "schedule", {"class_path": "Cosine", "init_args": {"warmup": 0.1}}, "up, then half a cosine")


def _length(facts: Facts) -> int:
    """Return a multiple of 64 tokens that 99 % of the examples fit in, and the model reads."""
    return min(-(-facts.longest // 64) * 64, facts.positions, _LONGEST)


def _why_length(facts: Facts) -> str:
    length = _length(facts)
    if length >= facts.longest:
        return f"99 % of the examples have {facts.longest} tokens or fewer"
    cut = sum(each > length for each in facts.lengths)
    why = "the model reads no more" if length == facts.positions else "for memory; the model reads more"
    return f"{why}: {cut} of {len(facts.lengths)} examples are longer, and cut"


def _batch_pairs(facts: Facts) -> int:
    """Return how many examples fit a budget of tokens that grows as the model shrinks."""
    budget = 4096 if facts.gpu is None or facts.parameters > 3e9 else 16_384
    return min(max(budget // max(facts.computed, 1), 1), 8)


def _accumulate(facts: Facts) -> int:
    wanted = min(_EXAMPLES_A_STEP, facts.rows // _FEW)
    return max(wanted // _batch_pairs(facts), 1)


def _held_out(facts: Facts) -> float:
    return 0.1 if facts.rows < 10_000 else max(round(1000 / facts.rows, 3), 0.001)


def _data(facts: Facts) -> Iterator[str]:
    yield "data:"
    yield _line(1, "dataset", facts.dataset)
    yield _line(1, "val_split", _held_out(facts), "share that is held out; or a file")
    yield _line(1, "max_length", _length(facts), _why_length(facts))
    yield _line(1, "batch_pairs", _batch_pairs(facts), "examples at once; fewer need less memory")


def _trainer(facts: Facts, training: Training, run: str) -> Iterator[str]:
    accumulate, pairs = _accumulate(facts), _batch_pairs(facts)
    batches = math.ceil(facts.rows * (1 - _held_out(facts)) / pairs)
    epochs = 1 if facts.rows >= 1000 else 3
    steps = math.ceil(batches / accumulate)
    yield "trainer:"
    yield _line(1, "devices", 1)
    yield _line(1, "precision", _precision(facts, training), _why(facts, training))
    yield _line(1, "max_epochs", epochs, f"about {steps} optimizer steps each")
    yield _line(1, "accumulate_grad_batches", accumulate, f"{accumulate} x {pairs} examples an optimizer step")
    yield _line(1, "gradient_clip_val", 1.0)
    if batches >= 16:
        yield _line(1, "val_check_interval", 0.25, "four validations an epoch")
    yield _line(1, "log_every_n_steps", max(min(steps * epochs // 20, 10), 1))
    yield _line(1, "logger", {"class_path": "CSVLogger", "init_args": {"save_dir": run}})
    yield "  callbacks:"
    saving = {"dirpath": f"{run}/checkpoints", "every_n_train_steps": max(min(steps // 2, 100), 1)}
    for name, given in {"ResumableCheckpoint": saving, "Export": {"path": f"{run}/model"}}.items():
        yield f"    - class_path: {name}"
        yield _line(3, "init_args", given)


def _precision(facts: Facts, training: Training) -> str:
    if facts.gpu is None:
        return "32-true"
    if not facts.bf16:
        return "16-mixed"
    return "bf16-true" if training.lora and not training.quantized else "bf16-mixed"


def _why(facts: Facts, training: Training) -> str:
    precision = _precision(facts, training)
    if precision == "32-true":
        return f"on a CPU; on a GPU {_precision(replace(facts, gpu=1.0, bf16=True), training)}"
    return {
        "16-mixed": "this GPU has no bfloat16",
        "bf16-mixed": "computes in bfloat16; what is trained stays in float32",
        "bf16-true": "weights in bfloat16, half the memory of float32",
    }[precision]
