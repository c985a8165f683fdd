"""TRL as a tool whose configs are read."""

from __future__ import annotations

from dpo_lightning.cli.ways_over import optimizer, running
from dpo_lightning.cli.ways_over.conversion import Tool
from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.tree import From
from dpo_lightning.cli.ways_over.trl import data, model, objective
from dpo_lightning.cli.ways_over.trl.fields import FIELDS

_ACCELERATE = "a config of accelerate, which says how many processes there are: see configs/hardware/ for ours"


def schedule(draft: Draft) -> None:
    """Write the schedule; the older `warmup_ratio` counts where `warmup_steps` asks for nothing."""
    given = draft.given
    if given["warmup_ratio"] and not given.asks("warmup_steps"):
        optimizer.schedule(draft, From(float(given["warmup_ratio"]), given.because("warmup_ratio")))
    else:
        optimizer.schedule(draft)


TOOL = Tool(
    title="TRL",
    fields=FIELDS,
    steps=(
        running.seeds,
        model.policy,
        objective.objective,
        objective.reference,
        model.adapters,
        model.quantisation,
        model.dropout,
        running.checkpointing,
        model.compiled,
        optimizer.optimizer,
        schedule,
        data.data,
        data.rows,
        running.length,
        model.precision,
        running.strategy,
        running.validation,
        running.logging,
        running.saving,
    ),
    no_config={"compute_environment": _ACCELERATE, "distributed_type": _ACCELERATE},
    earlier={
        "torch_dtype": "dtype",
        "evaluation_strategy": "eval_strategy",
        "hub_model_revision": "hub_revision",
        "dataset_mixture": "datasets",
        "dataset_mixer": "datasets",
    },
)
"""The way over from TRL."""
