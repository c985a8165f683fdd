"""The start of a fit in words: what will be trained on what, for how long, and where it will lie."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpo_lightning.report.progress_line import clock, short
from dpo_lightning.report.words import called, counted

_LABEL = 11  # columns of the labels
_NARROW = 60  # columns under which a label has a line of its own
_GIB = 2**30
_LAYOUTS = {
    "tree": "tree: completions share their prompt, and nothing is padded",
    "padded": "padded: a row for each completion",
}

_REFERENCES = {
    "AdapterOff()": "AdapterOff: the base weights, with the adapters switched off",
    "FrozenAdapter()": "FrozenAdapter: a copy of the adapters as they are now",
    "FrozenCopy()": "FrozenCopy: a copy of the policy as it is now",
}


@dataclass(frozen=True)
class Plan:
    """Knowledge of a fit before its first step, beside the facts of `run.json`; None where nobody knows.

    Attributes:
        kind: Word for the examples.
        train: Examples of an epoch.
        streams: Whether they are read as they come, so that nobody knows how many there are.
        sets: Held-out examples by the name of their set; the name of one without a name is empty.
        dropped: Examples that were read and left out, by the reason.
        tokens: Tokens of an epoch.
        step_examples: Examples of an optimizer step, over all ranks.
        steps_of_epoch: Optimizer steps of an epoch.
        epochs: Epochs of the run.
        resumed: Checkpoint that the run goes on from, and the optimizer steps that are done in it.
        coverage: Share of the model's weights that adapters cover.
        schedule: The learning rate's.
        processes: How the ranks work together.
        memory: Bytes that a device will need, and those that it has.
        seconds: Time that the steps will take.
        places: Where files will lie, by what they are.
    """

    kind: str = "pairs"
    train: int | None = None
    streams: bool = False
    sets: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    tokens: int | None = None
    step_examples: float | None = None
    steps_of_epoch: int | None = None
    epochs: int | None = None
    resumed: tuple[str, int] | None = None
    coverage: float | None = None
    schedule: str | None = None
    processes: str | None = None
    memory: tuple[float, float] | None = None
    seconds: float | None = None
    places: Mapping[str, str] = field(default_factory=dict)


def start_lines(facts: Mapping[str, Any], plan: Plan, width: int) -> list[str]:
    """Return what a fit will do, a labelled line for each thing that is known.

    Args:
        facts: Those of `run.json`.
        plan: What is known besides.
        width: Columns; longer lines go on under their beginning.
    """
    said = {
        "goes on": _resumed(plan),
        "examples": _examples(plan),
        "steps": _steps(facts, plan),
        "layout": _layout(facts),
        "model": _model(facts, plan),
        "reference": _REFERENCES.get(str(facts.get("reference")), facts.get("reference")),
        "objective": called(facts.get("objective")),
        "optimizer": _optimizer(facts, plan),
        "device": _device(facts, plan),
        "needs": _needs(plan),
        **plan.places,
    }
    return [line for label, text in said.items() if text for line in _labelled(label, text, width)]


def _resumed(plan: Plan) -> str | None:
    return plan.resumed and f"from {plan.resumed[0]}, after optimizer step {plan.resumed[1]}"


def _examples(plan: Plan) -> str | None:
    if plan.train is None and not plan.streams:
        return None
    train = f"a stream of {plan.kind}" if plan.train is None else f"{plan.train:,} {plan.kind}"
    held_out = sum(plan.sets.values())
    named = {name: count for name, count in plan.sets.items() if name}
    sets = f" ({', '.join(f'{name} {count:,}' for name, count in named.items())})" if len(named) > 1 else ""
    text = f"{train} to train on, {f'{held_out:,} held out{sets}' if held_out else 'none held out'}"
    lost = sum(plan.dropped.values())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in plan.dropped.items())
    return f"{text}; {lost:,} dropped: {reasons}" if lost else text


def _steps(facts: Mapping[str, Any], plan: Plan) -> str | None:
    whole = facts.get("steps_planned")
    if whole is None and plan.step_examples is None:
        return None
    text = "no end is set, each" if whole is None else f"{whole:,}"
    if plan.step_examples is not None:
        text += f" of {round(plan.step_examples):,} {plan.kind}"
    if plan.tokens is not None and plan.steps_of_epoch:
        text += f", about {counted(plan.tokens / plan.steps_of_epoch)} tokens"
        epochs = f"{plan.epochs} epochs, each" if plan.epochs and plan.epochs > 1 else "an epoch is"
        text += f"; {epochs} {plan.steps_of_epoch:,} steps, {counted(plan.tokens)} tokens"
    return text


def _layout(facts: Mapping[str, Any]) -> str | None:
    name, why = facts.get("layout"), facts.get("layout_why")
    if name is None:
        return None
    return f"{_LAYOUTS.get(name, name)}, since {why}" if why else _LAYOUTS.get(name, name)


def _model(facts: Mapping[str, Any], plan: Plan) -> str | None:
    model = facts.get("model") or {}
    whole, trained = model.get("parameters"), model.get("trainable")
    name, kind = model.get("name"), model.get("class", "")
    called = f"{Path(name).name} ({kind})" if name else kind
    if whole is None or trained is None:
        return called or None
    share = "all trained" if trained == whole else f"{counted(trained)} of them trained ({trained / whole:.2%})"
    text = f"{called}: {counted(whole)} parameters, {share}"
    if model.get("lora"):
        covered = "" if plan.coverage is None else f", which cover {plan.coverage:.1%} of the model"
        text += f"; adapters: {str(model['lora']).partition(' on ')[0]}{covered}"
    return f"{text}; {model['compiled_layers']} layers run compiled" if model.get("compiled_layers") else text


def _optimizer(facts: Mapping[str, Any], plan: Plan) -> str | None:
    optimizer = facts.get("optimizer")
    if not optimizer:
        return None
    name = f"fused {optimizer['name']}" if optimizer.get("fused") else optimizer["name"]
    parts = [name, f"learning rate {short(optimizer['lr'])}", plan.schedule]
    return ", ".join(filter(None, parts))


def _device(facts: Mapping[str, Any], plan: Plan) -> str | None:
    machine = facts.get("machine") or {}
    ranks = machine.get("ranks", 1)
    together = f" ({plan.processes})" if plan.processes else ""
    parts = [
        machine.get("device"),
        f"precision {machine['precision']}" if "precision" in machine else None,
        f"{ranks} processes{together}" if ranks > 1 else None,
        f"seed {facts['seed']}" if "seed" in facts else None,
    ]
    return ", ".join(filter(None, parts)) or None


def _needs(plan: Plan) -> str | None:
    """Return memory and time, as the estimates that they are."""
    parts = []
    if plan.memory is not None:
        need, there = (each / _GIB for each in plan.memory)
        parts.append(f"about {need:.0f} GiB of {there:.0f}" if need >= 1 else f"less than 1 GiB of {there:.0f}")
    if plan.seconds is not None:
        parts.append(f"about {clock(plan.seconds)} for the steps that are left")
    return f"{', '.join(parts)}, both estimated" if len(parts) > 1 else "".join(f"{each}, estimated" for each in parts)


def _labelled(label: str, text: str, width: int) -> Iterator[str]:
    """Yield a label with its text beside it; in a narrow terminal with its text below it."""
    if width < _NARROW:
        yield label
        yield from _wrapped(text, width, " " * 2, " " * 2)
    else:
        yield from _wrapped(text, width, f"{label:<{_LABEL}}", " " * _LABEL)


def _wrapped(text: str, width: int, first: str, others: str) -> Iterator[str]:
    """Yield the lines of a text, broken at spaces; a word that is longer than a line stays whole, to be copied."""
    line, is_empty = first, True
    for word in text.split(" "):
        if not is_empty and columns(line) + 1 + columns(word) > width:
            yield line
            line, is_empty = others, True
        line, is_empty = (line + word if is_empty else f"{line} {word}"), False
    yield line.rstrip()


def columns(text: str) -> int:
    """Return the columns of a terminal that a text takes: a wide character takes two, a combining one none."""
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))
