"""Writes docs/recipes.md from the recipes, and from what `plan` computes of them: `python -m tools.docs.recipes`."""

from __future__ import annotations

import json
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

from dpo_lightning.cli.commands.plan import read_run
from dpo_lightning.cli.data_of_config import DataCLI
from dpo_lightning.cli.plan_table import Run
from dpo_lightning.cli.trainer import run_trainer
from dpo_lightning.estimate import GPUS, Mesh, device_memory, step_flops, step_sent
from dpo_lightning.utils.utilization import USUAL_UTILIZATION

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "recipes.md"
RECIPES = ROOT / "configs" / "recipes"
SHAPES = Path(__file__).with_name("model_shapes.json")
_CARDS = {80: "H100", 24: "RTX4090"}

_INTRODUCTION = """\
# Recipes

`configs/recipes/` has the runs of published models, and a few of ours for one card. Each line has a comment with what
it is and where its value is from, in brackets; the head of the file lists the sources, and says in plain words what
the source does and this run does not.

Written by `python -m tools.docs.recipes`; `tests/tools/docs/test_recipes.py` holds it up to date, and
`tests/test_recipes.py` trains two steps of each on a small stand-in.

<!-- not run: needs the hub -->
```bash
dpo-lightning fit --config configs/recipes/lora_1b_24gb.yaml
dpo-lightning fit --config configs/recipes/tulu3_8b.yaml --config configs/hardware/fsdp2.yaml
```

## What there is

`beta` and learning rate are those of the file, *batch* the pairs of an optimizer step. *GB* is the peak of a GPU, and
*s* the time of an optimizer step, as `plan` computes them for micro-batches of the longest pairs that the file allows,
where real pairs are shorter. **No recipe was run on a GPU, and none to its end.**

"""

_REST = """\

## What it would need

`dpo-lightning plan --config configs/recipes/tulu3_8b.yaml --devices 8` prints memory, time and traffic, from the
config of the model alone. Without the hub, or for a model that is gated, a directory with its `config.json` will do
(and `--data.tokenizer=null`, where the recipe names a tokenizer); another model is named in the same way:

```bash
dpo-lightning plan --config configs/recipes/tulu3_8b.yaml --devices 8 --model.policy=path/to/model
dpo-lightning plan --config configs/recipes/lora_1b_24gb.yaml --gpu RTX4090 --model.policy=Qwen/Qwen2.5-0.5B-Instruct
```

The sizes of the table are from `tools/docs/model_shapes.json`, each with its source.

## Other hardware

A recipe with eight GPUs needs a way to spread the model: `configs/hardware/fsdp2.yaml` behind it, as in its head. The
batch is counted for the GPUs of the file, and `batch_pairs x accumulate_grad_batches x GPUs` must stay what it is:

<!-- not run: needs GPUs -->
```bash
dpo-lightning fit --config configs/recipes/tulu3_8b.yaml --config configs/hardware/fsdp2.yaml \\
  --trainer.devices=4 --trainer.strategy.init_args.data_parallel_size=4 --trainer.accumulate_grad_batches=32
```

Where memory is short: smaller micro-batches (`data.batch_pairs`) and more of them, then the reference `Precomputed`,
then `model.gradient_checkpointing: offload`, then LoRA. [Several GPUs](several-gpus.md) and
[memory and time](scaling.md) have more.

## Your own data

Flags put your rows in the place of the recipe's; the format is found anew where the recipe names none:

```bash
dpo-lightning inspect --config configs/recipes/lora_1b_24gb.yaml --model.policy=Qwen/Qwen2.5-0.5B-Instruct \\
  --data.dataset=chats.jsonl --data.train_split=train --data.val_split=0.05
```

The same flags of `fit` train on them.

## What is not the source's

"""


class Planned(NamedTuple):
    """What an optimizer step of a recipe needs on the hardware of its header."""

    card: str
    devices: int
    gigabytes: float
    seconds: float


@cache
def shapes() -> dict[str, Any]:
    """Return configs of the recipes' models by name, each with its source."""
    return json.loads(SHAPES.read_text(encoding="utf-8"))


@contextmanager
def shape_directory(policy: str) -> Iterator[str]:
    """Make a directory with the config.json of a model and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(shapes()[policy]["config"]))
        yield folder


def recipes() -> dict[str, dict[str, Any]]:
    """Return the recipes by name."""
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(RECIPES.glob("*.yaml"))}


def run_of(recipe: dict[str, Any]) -> Run:
    """Return the sizes of a recipe's run, as `plan` reads them: in one file, since each flag is parsed over all."""
    with shape_directory(recipe["model"]["policy"]) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        changes: dict[str, dict[str, Any]] = {
            "model": {"policy": folder},
            "data": {"tokenizer": None},
            "trainer": {"accelerator": "cpu"},
        }
        here = {room: {**recipe[room], **values} for room, values in changes.items()}
        file = Path(folder) / "run.yaml"
        file.write_text(yaml.safe_dump({**recipe, **here}), encoding="utf-8")
        config = run_trainer(["fit", "--config", str(file)], DataCLI).config["fit"]
        config.prompt_tokens = config.completion_tokens = None
        return read_run(config)


@cache
def planned(name: str) -> Planned:
    """Compute memory and time of an optimizer step on the header's hardware."""
    recipe = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
    run, devices = run_of(recipe), recipe["trainer"]["devices"]
    found = re.search(r"of (\d+) GB", (RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{name}: the header names no GPU")
    card = _CARDS[int(found[1])]
    mesh = Mesh(devices, sharded=devices > 1)
    device, scores = GPUS[card], run.reference_forward
    held = device.gigabytes * 1e9
    memory = device_memory(run.shape, run.work, run.numerics, run.state, mesh, held, run.reference_shape)
    flops = step_flops(run.shape, run.work, run.state, reference_forward=scores)
    sent = step_sent(run.shape, run.work, run.numerics, run.state, mesh, reference_forward=scores)
    seconds = flops / device.half_flops / USUAL_UTILIZATION + sent.seconds(device, mesh)
    return Planned(card, devices, memory.total / 1e9, seconds)


def objective_of(objective: dict[str, Any]) -> tuple[str, str]:
    """Return what a recipe minimises, and its beta."""
    settings = objective.get("init_args", {})
    name = objective["class_path"]
    if name == "Weighted":
        parts = [objective_of(part) for part in settings["objectives"]]
        weights = [_short(weight) for weight in settings["weights"]]
        terms = [f"{weight} {part}" for (part, _), weight in zip(parts, weights, strict=True)]
        return " + ".join(terms).replace("1 ", "", 1), parts[0][1]
    others = {key: value for key, value in settings.items() if key != "beta"}
    told = ", ".join(f"{key} {value:g}" for key, value in others.items())
    return f"{name} ({told})" if told else name, f"{settings['beta']:g}" if "beta" in settings else "-"


def _short(number: float) -> str:
    return f"{number:g}".replace("e-0", "e-")


def data_of(data: dict[str, Any]) -> str:
    """Return the name of the data; of several sources how many they are."""
    sources = data.get("sources")
    if sources is None:
        return f"`{data['dataset'].split('/')[1]}`"
    names = {source["dataset"].split("/")[1] for source in sources}
    return f"two parts of `{names.pop()}`" if len(names) == 1 else f"{len(sources)} sets"


def row(name: str, recipe: dict[str, Any]) -> str:
    """Return a recipe's row of the table."""
    model, trainer, data = recipe["model"], recipe["trainer"], recipe["data"]
    objective, beta = objective_of(model["objective"])
    pairs = data["batch_pairs"] * trainer["accumulate_grad_batches"] * trainer["devices"]
    adapters = "QLoRA" if "quantization_config" in model else "LoRA"
    trained = f"{adapters} {model['lora']['r']}" if "lora" in model else "all"
    plan = planned(name)
    cells = (
        f"[`{name}`](#{name.replace('_', '-')})",
        f"`{model['policy'].split('/')[1]}`",
        trained,
        data_of(data),
        objective,
        beta,
        _short(model["optimizer"]["init_args"]["lr"]),
        str(data["max_length"]),
        str(pairs),
        f"{plan.devices} x {plan.card}",
        f"{plan.gigabytes:.0f}",
        f"{plan.seconds:.1f}",
    )
    return f"| {' | '.join(cells)} |"


class Header(NamedTuple):
    """The head of a recipe: what it is, its sources by their short names, and what is not the source's."""

    title: str
    sources: dict[str, str]
    differs: list[str]


def header(name: str) -> Header:
    """Read the head of a recipe."""
    text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    lines = [line[2:] for line in text.splitlines() if line[:1] == "#"]
    needs, sources, differs = (
        next(place for place, line in enumerate(lines) if line.startswith(start))
        for start in ("Needs ", "Sources:", "What the source does,")
    )
    named = (item[1:].split("] ", 1) for item in _items(lines[sources + 1 : differs], "["))
    return Header(" ".join(lines[:needs]), dict(named), _items(lines[differs + 1 :], "- "))


def _items(lines: list[str], mark: str) -> list[str]:
    """Join the lines of each item, which begins with a mark."""
    items: list[str] = []
    for line in map(str.strip, lines):
        if line.startswith(mark):
            items.append(line)
        else:
            items[-1] += f" {line}"
    return items


def section(name: str) -> str:
    """Return what the page says of a recipe below the table."""
    head = header(name)
    title, *differs = (_told(text, head.sources) for text in (head.title, *head.differs))
    sources = "; ".join(what for key, what in head.sources.items() if key != "ours")
    return "\n".join([f"### {name.replace('_', '-')}", "", title, "", *differs, f"- Sources: {sources}.", ""])


def _told(text: str, sources: dict[str, str]) -> str:
    """Put the file of a source in the place of its short name, and code around a tag."""

    def file_of(found: re.Match[str]) -> str:
        what = sources[found[1]]
        path = re.search(r"[\w./-]+\.(?:sh|yaml|md|py)\b", what)
        return f"`{Path(path[0]).name}`" if path else what.split(",")[0]

    return re.sub(r"\[(\w+)\]", file_of, text).replace("<think>", "`<think>`")


def document() -> str:
    """Return the page."""
    names = ("recipe", "model", "trained", "data", "objective", "beta", "rate", "tokens", "batch", "on", "GB", "s")
    found = recipes()
    table = [f"| {' | '.join(names)} |", "|" + "---|" * len(names), *(row(*each) for each in found.items())]
    return _INTRODUCTION + "\n".join(table) + "\n" + _REST + "\n".join(map(section, found))


def main() -> None:
    """Write docs/recipes.md."""
    DOCUMENT.write_text(document(), encoding="utf-8")


if __name__ == "__main__":
    main()
