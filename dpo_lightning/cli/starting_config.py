"""A config to begin with, each value with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml  # type: ignore[import-untyped]

from dpo_lightning.cli.methods import Method, learning_rate

_EXAMPLES_A_STEP = 64
_FEW = 30  # optimizer steps that a pass over the data should at least have
_COLUMN = 44  # where comments begin


@dataclass(frozen=True)
class Facts:
    """The facts that decide on a config.

    Attributes:
        model: Name or directory of the model.
        parameters: Number of its parameters.
        positions: Most tokens that it reads.
        dataset: The data, as `data.dataset` takes it.
        rows: Rows of the data.
        examples: Examples among those that were looked at.
        kind: What they are: pairs, labelled completions or lists.
        longest: Tokens of prompt and its longest completion, of which 99 % of the examples have no more.
        computed: Tokens of prompt and all completions, of which 99 % of the examples have no more.
        gpu: GiB of the GPU's memory; None on a CPU.
        bf16: Whether the GPU computes in bfloat16.
    """

    model: str
    parameters: int
    positions: int
    dataset: str
    rows: int
    examples: int
    kind: str
    longest: int
    computed: int
    gpu: float | None = None
    bf16: bool = True


@dataclass(frozen=True)
class Training:
    """The ways to train: `lora` trains adapters, `quantized` keeps the base in 4 bits below them."""

    lora: bool = False
    quantized: bool = False


def starting_config(facts: Facts, method: Method, training: Training, run: str) -> str:
    """Return the config as YAML.

    Args:
        facts: What is known of model, data and machine.
        method: The objective.
        training: What of the model is trained.
        run: Directory for what the run writes.
    """
    lines = [
        f"# {method.name} on {facts.rows:,} rows ({facts.kind}) with a model of {_count(facts.parameters)} parameters.",
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


def _count(number: float) -> str:
    size, name = next(each for each in ((1e9, " billion"), (1e6, " million"), (1.0, "")) if number >= each[0])
    return f"{number / size:,.3g}{name}" if name else f"{number:,}"


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
        settings = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "bfloat16"}
        yield from (_line(2, key, value) for key, value in settings.items())
    if facts.parameters >= 1e9 or facts.longest > 2048:
        yield _line(1, "gradient_checkpointing", True, "less memory, a third more time")
    rate = learning_rate(method.name, facts.parameters, adapters=training.lora)
    yield "  optimizer:"
    yield _line(2, "class_path", "torch.optim.AdamW")
    yield "    init_args:"
    what = "adapters take ten times the rate of all weights" if training.lora else "all weights, at this size"
    yield _line(3, "lr", rate, f"{what}; try a third and three times of it")
    yield _line(3, "weight_decay", 0.0)
    yield _line(1, "schedule", {"class_path": "Cosine", "init_args": {"warmup": 0.1}}, "up, then half a cosine")


def _length(facts: Facts) -> int:
    """Return a multiple of 64 tokens that 99 % of the examples fit in, and the model reads."""
    return min(-(-facts.longest // 64) * 64, facts.positions, 4096)


def _batch_pairs(facts: Facts) -> int:
    """Return how many examples fit a budget of tokens that grows as the model shrinks."""
    budget = 4096 if facts.gpu is None or facts.parameters > 3e9 else 16_384
    return min(max(budget // max(facts.computed, 1), 1), 8)


def _accumulate(facts: Facts) -> int:
    wanted = min(_EXAMPLES_A_STEP, facts.rows // _FEW)
    return max(wanted // _batch_pairs(facts), 1)


def _data(facts: Facts) -> Iterator[str]:
    held_out = 0.1 if facts.rows < 10_000 else round(1000 / facts.rows, 3)
    yield "data:"
    yield _line(1, "dataset", facts.dataset)
    yield _line(1, "val_split", held_out, "share that is held out; or a file")
    yield _line(1, "max_length", _length(facts), f"99 % of the examples have {facts.longest} tokens or fewer")
    yield _line(1, "batch_pairs", _batch_pairs(facts), "examples at once; fewer need less memory")


def _trainer(facts: Facts, training: Training, run: str) -> Iterator[str]:
    accumulate, pairs = _accumulate(facts), _batch_pairs(facts)
    batches = int(facts.rows * 0.9) // pairs
    epochs = 1 if facts.rows >= 1000 else 3
    steps = max(batches // accumulate, 1)
    yield "trainer:"
    yield _line(1, "devices", 1)
    yield _line(1, "precision", _precision(facts, training), _why(facts))
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


def _why(facts: Facts) -> str:
    if facts.gpu is None:
        return "on a CPU; on a GPU bf16-mixed, or bf16-true with LoRA"
    return "weights in half the memory" if facts.bf16 else "this GPU has no bfloat16"
