"""The model card of an export: what was trained from what, on what, how it did, and how it is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dpo_lightning.report.progress_line import short
from dpo_lightning.report.words import called, loading_code
from dpo_lightning.utils.text import visible_markdown

_NUMBER, _HUB = (int, float), re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_KINDS: dict[str, Any] = {
    "model": {**dict.fromkeys(("name", "class", "lora"), str), "local": bool},
    "objective": {"name": str, "settings": Mapping},
    "data": {"source": str, "fingerprint": str, "train": _NUMBER, "held_out": _NUMBER},
    "optimizer": {"name": str, "lr": _NUMBER},
    "machine": {"device": str, "precision": str},
    "versions": Mapping,
    "reference": str,
    **dict.fromkeys(("seed", "step", "steps_planned"), _NUMBER),
}


def model_card(facts: Mapping[str, Any], metrics: Mapping[str, float], path: str, *, adapter: bool) -> str:
    """Return the card as Markdown; what is not known is left out.

    Args:
        facts: Those of `run.json`; what is of another kind than it has there is left out.
        metrics: Values of held-out examples by name, of which `val/...` are shown.
        path: Directory of the export.
        adapter: Whether it holds an adapter, and not a model.
    """
    facts = _of_kinds(facts, _KINDS)
    name = _name(facts)
    objective = visible_markdown((facts.get("objective") or {}).get("name", "preferences"))
    tags = ["dpo_lightning", "preference-optimization", *(["lora"] if adapter else [])]
    lines = ["---", f"library_name: {'peft' if adapter else 'transformers'}"]
    lines += [f"base_model: {name}"] if name and _is_of_the_hub(facts) else []
    lines += ["pipeline_tag: text-generation", "tags:", *(f"- {tag}" for tag in tags), "---", ""]
    lines += [f"# {visible_markdown(name or 'A language model')}, trained with {objective}", ""]
    lines += ["Trained on preferences with dpo_lightning.", "", "| | |", "|---|---|"]
    lines += [f"| {label} | {visible_markdown(text)} |" for label, text in _rows(facts) if text]
    held_out = {name: value for name, value in metrics.items() if name.startswith("val/")}
    if held_out:
        lines += ["", "## On held-out examples", "", "| metric | value |", "|---|---|"]
        lines += [f"| {visible_markdown(name)} | {short(value)} |" for name, value in held_out.items()]
    shown = Path(path).name or path
    lines += ["", "## Load it", "", "```python", loading_code(shown, adapter=adapter), "```"]
    lines += ["", "## Not said here", "", "Licence, intended use and limits: add them before you share the model."]
    return "\n".join(lines) + "\n"


def _rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    model, data, machine = (facts.get(name) or {} for name in ("model", "data", "machine"))
    yield "base model", _name(facts)
    yield "adapters", str(model.get("lora") or "")
    yield "objective", called(facts.get("objective"))
    yield "reference", str(facts.get("reference") or "")
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


def _name(facts: Mapping[str, Any]) -> str:
    """Return the base model's name: of a directory the last part, since where it lies concerns nobody else."""
    model = facts.get("model") or {}
    name = str(model.get("name") or "")
    return name if _is_of_the_hub(facts) else Path(name).name or str(model.get("class") or "")


def _is_of_the_hub(facts: Mapping[str, Any]) -> bool:
    """Return whether the base model's name is that of a hub: the run knows that it was no directory."""
    model = facts.get("model") or {}
    return model.get("local") is False and _HUB.fullmatch(model.get("name", "")) is not None


def _data(data: Mapping[str, Any]) -> str:
    parts = [Path(str(data["source"])).name] if data.get("source") else []
    parts += [f"{data['train']:,} to train on"] if data.get("train") is not None else []
    parts += [f"{data['held_out']:,} held out"] if data.get("held_out") else []
    parts += [f"fingerprint {data['fingerprint']}"] if data.get("fingerprint") else []
    return ", ".join(parts)


def _optimizer(facts: Mapping[str, Any]) -> str:
    optimizer, steps = facts.get("optimizer") or {}, facts.get("step") or facts.get("steps_planned")
    parts = [optimizer["name"]] if "name" in optimizer else []
    parts += [f"learning rate {short(optimizer['lr'])}"] if "lr" in optimizer else []
    return ", ".join(parts + ([f"{steps} steps"] if steps else []))
