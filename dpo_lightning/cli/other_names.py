"""Names that other preference trainers have for what is here, for those who type them out of habit.

They are those of the tables by which `dpo-lightning import` converts.
"""

from __future__ import annotations

from collections.abc import Mapping

from dpo_lightning.cli.ways_over.losses import LOSSES
from dpo_lightning.cli.ways_over.optimizer import OPTIMIZERS
from dpo_lightning.cli.ways_over.running import LOGGERS
from dpo_lightning.cli.ways_over.tools import NAMES, tool_named

__all__ = ["KEYS", "LOSSES", "OBJECTS", "here"]

_OF_SCRIPTS = {
    "eval_dataset": "data.val_split",
    "lora_rank": "model.lora.r",
    "max_seq_length": "data.max_length",
    "micro_batch_size": "data.batch_pairs",
    "num_epochs": "trainer.max_epochs",
    "ref_model": "model.reference",
    "sequence_len": "data.max_length",
    "cutoff_len": "data.max_length",
    "lr": "model.optimizer.lr",
    "train_dataset": "data.dataset",
    "val_set_size": "data.val_split",
}
"""Arguments of trainers in Python, and names that no table has yet."""

_OURS = ("seed",)  # of `data`, beside another key of this meaning

KEYS = {
    **_OF_SCRIPTS,
    **{
        name: field.here
        for tool in NAMES
        for name, field in (*tool_named(tool).fields.items(), *tool_named(tool).former())
        if field.here and name not in _OURS and field.here.split(".")[1:] != [name]
    },
}
"""Keys of configs of other trainers, with where their value goes."""

OBJECTS = {
    **{name: str(found) for name, found in OPTIMIZERS.items()},
    **LOGGERS,
    "bf16": "bf16-mixed",
    "csv": "CSVLogger",
    "fp16": "16-mixed",
    "fp32": "32-true",
    "fsdp2": "ModelParallelStrategy, as in configs/hardware/fsdp2.yaml,",
}
"""Names of optimizers, loggers, precisions and strategies, with what they are here."""


def here(name: str, names: Mapping[str, object]) -> str | None:
    """Say what a name of another trainer is here; None for one that no other has."""
    found = names.get(name.rpartition(".")[2].lower())
    return None if found is None else f"; what other trainers call `{name.rpartition('.')[2]}` is {found} here"
