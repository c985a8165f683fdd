"""The model card of an export: what was trained from what, on what, how it did, and how it is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dpo_lightning.report.card_metadata import base_name, data_name, metadata, without_places
from dpo_lightning.report.progress_line import short
from dpo_lightning.report.samples import shortened
from dpo_lightning.report.words import called, loading_code
from dpo_lightning.utils.text import visible_markdown

_NUMBER = (int, float)
_KINDS: dict[str, Any] = {
    "model": {**dict.fromkeys(("name", "class", "lora"), str), "local": bool},
    "objective": {"name": str, "settings": Mapping, "cited": list},
    "data": {"source": str, "hub": list, "fingerprint": str, "train": _NUMBER, "held_out": _NUMBER},
    "optimizer": {"name": str, "lr": _NUMBER},
    "machine": {"device": str, "precision": str},
    "versions": Mapping,
    "reference": str,
    **dict.fromkeys(("seed", "step", "steps_planned"), _NUMBER),
}


_SHOWN = 400  # characters of a sampled text
_WORK = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


class Card(NamedTuple):
    """Contents of a model card.

    Attributes:
        facts: Those of `run.json`; what is of another kind than it has there is left out.
        metrics: Values of held-out examples by name, of which `val/...` are shown.
        samples: Rows of `samples.jsonl` that are shown: `prompt`, and texts of `policy` and `reference`.
    """

    facts: Mapping[str, Any] = {}
    metrics: Mapping[str, float] = {}
    samples: Sequence[Mapping[str, Any]] = ()


def model_card(card: Card, path: str, *, adapter: bool) -> str:
    """Return the card as Markdown, with metadata that the Hugging Face hub reads; what is not known is left out.

    Args:
        card: What is known of the run.
        path: Directory of the export.
        adapter: Whether it holds an adapter, and not a model.
    """
    facts = _of_kinds(card.facts, _KINDS)
    held_out = {name: value for name, value in card.metrics.items() if name.startswith("val/")}
    shown = Path(path).name or path
    objective = visible_markdown((facts.get("objective") or {}).get("name", "preferences"))
    lines = ["---", metadata(facts, held_out, shown, adapter=adapter), "---", ""]
    lines += [f"# {visible_markdown(base_name(facts) or 'A language model')}, trained with {objective}", ""]
    lines += ["Trained on preferences with dpo_lightning."]
    known = [f"| {label} | {visible_markdown(text)} |" for label, text in _rows(facts) if text]
    lines += ["", "| | |", "|---|---|", *known] if known else []
    if held_out:
        lines += ["", "## On held-out examples", "", "| metric | value |", "|---|---|"]
        lines += [f"| {visible_markdown(name)} | {short(value)} |" for name, value in held_out.items()]
    lines += [*_samples(card.samples)]
    lines += ["", "## Load it", "", "```python", loading_code(shown, adapter=adapter), "```"]
    lines += [*_citations(facts)]
    lines += ["", "## Not said here", "", "Licence, intended use and limits: add them before you share the model."]
    return "\n".join(lines) + "\n"


def _samples(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the first text of policy and reference on each prompt."""
    whole = [row for row in rows if isinstance(row.get("prompt"), str) and _first(row.get("policy"))]
    if whole:
        yield from ("", "## Samples", "")
    for row in whole:
        yield f"* **prompt:** {_text(row['prompt'])}"
        for name in ("policy", "reference"):
            if text := _first(row.get(name)):
                yield f"    * {name}: {_text(text)}"


def _first(texts: Any) -> str | None:
    return texts[0] if isinstance(texts, list) and texts and isinstance(texts[0], str) else None


def _text(text: str) -> str:
    return visible_markdown(shortened(text, _SHOWN))


def _citations(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the works of the objective, each with its link."""
    works = [each for each in (facts.get("objective") or {}).get("cited") or () if isinstance(each, str)]
    if works:
        yield from ("", "## Cite", "")
    for work in works:
        yield "* " + _WORK.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", visible_markdown(work))


def _rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    model, data, machine = (facts.get(name) or {} for name in ("model", "data", "machine"))
    yield "base model", base_name(facts)
    yield "adapters", str(model.get("lora") or "")
    yield "objective", without_places(called(facts.get("objective")))
    yield "reference", without_places(str(facts.get("reference") or ""))
    yield "data", _data(data)
    yield "optimizer", _optimizer(facts)
    yield "device", ", ".join(str(machine[name]) for name in ("device", "precision") if machine.get(name))
    yield "seed", str(facts.get("seed", ""))
    yield "versions", ", ".join(f"{name} {version}" for name, version in (facts.get("versions") or {}).items())


def _of_kinds(values: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are known by name and kind: a file may be damaged, or somebody else's."""
    found: dict[str, Any] = {}
    for name, kind in kinds.items():
        value = values.get(name)
        if isinstance(kind, dict) and isinstance(value, Mapping):
            found[name] = _of_kinds(value, kind)
        elif not isinstance(kind, dict) and isinstance(value, kind):
            found[name] = value
    return found


def _data(data: Mapping[str, Any]) -> str:
    parts = [data_name({"data": data})] if data.get("source") else []
    parts += [f"{data['train']:,} to train on"] if data.get("train") is not None else []
    parts += [f"{data['held_out']:,} held out"] if data.get("held_out") else []
    parts += [f"fingerprint {data['fingerprint']}"] if data.get("fingerprint") else []
    return ", ".join(parts)


def _optimizer(facts: Mapping[str, Any]) -> str:
    optimizer, steps = facts.get("optimizer") or {}, facts.get("step") or facts.get("steps_planned")
    parts = [optimizer["name"]] if "name" in optimizer else []
    parts += [f"learning rate {short(optimizer['lr'])}"] if "lr" in optimizer else []
    return ", ".join(parts + ([f"{steps} steps"] if steps else []))
