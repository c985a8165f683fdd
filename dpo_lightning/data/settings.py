"""Checks of a DataModule's settings, before anything is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Optional

from dpo_lightning.data.formats.template_inputs import check_template_arguments
from dpo_lightning.errors import InputError
from dpo_lightning.utils.kinds import check_arguments, check_kinds
from dpo_lightning.utils.settings import SEED, Rule, at_least, check_rules

_MOST_WORKERS = max(64, 4 * (os.cpu_count() or 1))
"""Each is a process: far more of them than processors would end in a machine without memory, not in an error."""


def _processes(least: int) -> Rule:
    return Rule(f"at least {least} and at most {_MOST_WORKERS}", lambda value: least <= value <= _MOST_WORKERS)


_RULES = {
    **dict.fromkeys(
        ("batch_pairs", "batch_tokens", "eval_batch_pairs", "max_length", "max_prompt_length", "shuffle_buffer"),
        at_least(1),
    ),
    "num_workers": _processes(0),
    "num_proc": _processes(1),
    "seed": SEED,
}

_TEXTS = dict.fromkeys(("name", "revision", "data_dir"), Optional[str])
"""Arguments of `load_dataset` that are text, which YAML reads as a number where it looks like one."""


def check_settings(kind: type, arguments: Mapping[str, Any]) -> None:
    """Check the arguments of a DataModule's constructor: their kinds, and the ranges of numbers.

    Args:
        kind: The class, whose annotations say the kinds.
        arguments: The arguments by name; what else is there is passed over.

    Raises:
        InputError: naming the setting as the config does.
    """
    check_arguments(kind, arguments, "data.")
    check_kinds("data.load_options.", _TEXTS, arguments["load_options"] or {})
    check_rules("data.", arguments, **_RULES)
    check_template_arguments(arguments["chat_template_kwargs"] or {}, "data.chat_template_kwargs")
    most, prompt = arguments["max_length"], arguments["max_prompt_length"]
    if prompt is not None and prompt >= most:
        raise InputError(
            f"data.max_prompt_length {prompt} cuts nothing at data.max_length {most}: give a smaller one, or null"
        )
    for name in ("train_split", "val_split", "test_split"):
        if isinstance(arguments[name], str) and not arguments[name].strip():
            raise InputError(f"data.{name} must name a split, got {arguments[name]!r}")
    held_out = arguments["val_split"]
    if isinstance(held_out, int | float) and not 0 < held_out < 1:
        raise InputError(f"data.val_split: a held-out fraction is between 0 and 1, got {held_out}")
