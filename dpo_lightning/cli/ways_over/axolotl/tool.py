"""axolotl as a tool whose configs are read."""

from __future__ import annotations

from dpo_lightning.cli.ways_over import running as shared
from dpo_lightning.cli.ways_over.axolotl import data, model, objective, running
from dpo_lightning.cli.ways_over.axolotl.fields import FIELDS
from dpo_lightning.cli.ways_over.axolotl.reading import opened
from dpo_lightning.cli.ways_over.conversion import Tool

_ACCELERATE = "a config of accelerate, which says how many processes there are: see configs/hardware/ for ours"

TOOL = Tool(
    title="axolotl",
    fields=FIELDS,
    steps=(
        running.plugins,
        shared.seeds,
        model.policy,
        objective.objective,
        model.adapters,
        model.quantisation,
        model.checkpointing,
        running.optimizing,
        running.schedule,
        data.data,
        shared.length,
        model.precision,
        shared.strategy,
        running.validation,
        running.logging,
        running.saving,
    ),
    flat=opened,
    no_config={"compute_environment": _ACCELERATE, "distributed_type": _ACCELERATE},
    fixed={"f_divergence_type": "reverse_kl", "discopop_tau": 0.05},
    called={
        "beta": "rl_beta",
        "label_smoothing": "dpo_label_smoothing",
        "loss_type": "dpo_loss_type",
        "loss_weights": "dpo_loss_weights",
        "lr_scheduler_type": "lr_scheduler",
        "num_train_epochs": "num_epochs",
        "optim": "optimizer",
        "use_weighting": "dpo_use_weighting",
    },
)
"""The way over from axolotl."""
