"""Metadata of a model card, by which the Hugging Face hub finds and shows a model."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpo_lightning.utils.hub_upload import is_hub_name

_PLACE = re.compile(
    r"(?<![^\s=(,'\"])(?:\w+://|[A-Za-z]:\\|(?:~\w*|\.{1,2})?/(?=\S)|[^\s=,()'\"/]+/[^=,()'\"/]+/)[^,()'\"]*"
)
"""An absolute path, one from here with three parts or more, or an address, inside settings as one writes them."""


def metadata(facts: Mapping[str, Any], metrics: Mapping[str, float], name: str, *, adapter: bool) -> str:
    """Return the metadata as YAML: base model and data of the hub, library, tags, values of held-out examples.

    Args:
        facts: Those of `run.json`, each of its kind.
        metrics: Values of held-out examples by name.
        name: The model's.
        adapter: Whether it is an adapter, and not a model.
    """
    from huggingface_hub import ModelCardData

    datasets = [each for each in (facts.get("data") or {}).get("hub") or () if is_hub_name(each)]
    results = _results(facts, datasets, metrics)
    found: str = ModelCardData(
        base_model=base_name(facts) if _has_hub_base(facts) else None,
        datasets=datasets or None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-generation",
        tags=["dpo_lightning", "preference-optimization", *(["lora"] if adapter else [])],
        model_name=name if results else None,
        eval_results=results or None,
    ).to_yaml()
    return found


def base_name(facts: Mapping[str, Any]) -> str:
    """Return the base model's name: of a directory the last part, since where it lies concerns nobody else."""
    model = facts.get("model") or {}
    name = str(model.get("name") or "")
    return name if _has_hub_base(facts) else Path(name).name or str(model.get("class") or "")


def data_name(facts: Mapping[str, Any]) -> str:
    """Return the names of the data: of what is not the hub's the last parts."""
    data = facts.get("data") or {}
    hub = [name for name in data.get("hub") or () if is_hub_name(name)]
    names = str(data.get("source") or "").split(", ")
    return ", ".join(name if name in hub else Path(name.partition("?")[0]).name for name in names if name)


def without_places(text: str) -> str:
    """Return settings in words with the last part in place of each path: where a thing lies concerns nobody else."""
    return _PLACE.sub(lambda found: re.split(r"[/\\]", found[0].rstrip("/\\ "))[-1], text)


def _has_hub_base(facts: Mapping[str, Any]) -> bool:
    """Return whether the base model's name is that of a hub: the run knows that it was no directory."""
    model = facts.get("model") or {}
    return model.get("local") is False and is_hub_name(model.get("name", ""))


def _results(facts: Mapping[str, Any], datasets: list[str], metrics: Mapping[str, float]) -> list[Any]:
    """Return the values as the hub has results: without those that are no finite number."""
    from huggingface_hub import EvalResult

    data = datasets[0] if len(datasets) == 1 else data_name(facts) or "held-out preferences"
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=data,
            dataset_name=data,
            metric_type="accuracy" if name.endswith("rewards/accuracies") else name.removeprefix("val/"),
            metric_name=name,
            metric_value=value,
        )
        for name, value in metrics.items()
        if isinstance(value, int | float) and math.isfinite(value)
    ]
