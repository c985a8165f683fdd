"""LLaMA-Factory as a tool whose configs are read."""

from __future__ import annotations

from dpo_lightning.cli.ways_over import optimizer
from dpo_lightning.cli.ways_over import running as shared
from dpo_lightning.cli.ways_over.conversion import Tool
from dpo_lightning.cli.ways_over.llamafactory import data, model, objective, running
from dpo_lightning.cli.ways_over.llamafactory.fields import FIELDS
from dpo_lightning.cli.ways_over.llamafactory.reading import opened

_V1 = "a config of LLaMA-Factory's v1 trainer, which has other fields and no losses"
_INFO = "an entry of dataset_info.json"

TOOL = Tool(
    title="LLaMA-Factory",
    fields=FIELDS,
    steps=(
        shared.seeds,
        model.policy,
        objective.objective,
        model.adapters,
        model.quantisation,
        model.checkpointing,
        optimizer.optimizer,
        running.schedule,
        data.data,
        shared.length,
        model.precision,
        shared.strategy,
        shared.validation,
        running.logging,
        running.saving,
    ),
    flat=opened,
    no_config={"model_class": _V1, "dist_config": _V1, "sample_backend": _V1, "hf_hub_url": _INFO, "ranking": _INFO},
    earlier={"evaluation_strategy": "eval_strategy"},
)
"""The way over from LLaMA-Factory."""
