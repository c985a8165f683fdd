"""Names that other preference trainers have for what is here, for those who type them out of habit.

They are those of the tables by which `dpo-lightning import` converts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from dpo_lightning.cli.keys import Key, all_keys
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

_PLACE = re.compile(
    r"(?P<key>(?:model|data|trainer)\.\w+|ckpt_path|seed_everything)(?:\.(?P<setting>\w+))?(?P<rest>.*)"
)
_CALLBACK = "callback "


def _answers() -> Iterator[tuple[str, str]]:
    """Yield names of fields with the key that each is here, but for those that are keys here as well."""
    known = {key.name: key for key in all_keys()}
    ours = {name.rpartition(".")[2] for name in known}
    for tool in map(tool_named, NAMES):
        for name, field in (*tool.fields.items(), *tool.former()):
            answer = _answer(field.here, known)
            if answer is not None and name not in ours:
                yield name, answer


def _answer(place: str, known: Mapping[str, Key]) -> str | None:
    """Return where a table says that a field goes, as `key` or `key, as more`; None where it names no key."""
    if place.startswith(_CALLBACK):
        return f"trainer.callbacks, as {place.removeprefix(_CALLBACK)}"
    found = _PLACE.fullmatch(place)
    if found is None or found["key"] not in known:
        return None
    key, setting, rest = found["key"], found["setting"], found["rest"]
    if setting is not None:
        key += f".{setting}" if setting in known[key].settings else f", as {setting}"
    return key + (f", as {rest[2:]}" if rest.startswith(": ") else rest if rest.startswith(",") else "")


KEYS = {**_OF_SCRIPTS, **dict(_answers())}
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
