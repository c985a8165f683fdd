"""Settings of a DataModule: the wrong ones are one line that begins with the key."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dpo_lightning import PreferenceDataModule
from dpo_lightning.errors import InputError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in ("batch_pairs", "batch_tokens", "eval_batch_pairs")
            for value in (True, 2.5, "8", 0)
        ),
        *((name, value) for name in ("max_length", "max_prompt_length") for value in (0, -1, "x", math.nan)),
        *(("num_workers", value) for value in (-1, None, 1.5, 1_000_000)),
        *(("num_proc", value) for value in (0, 1.5, 1_000_000)),
        *(("seed", value) for value in (-1, 2**32, "0", None)),
        *(("val_split", value) for value in (0, 1, True, math.nan, "", [0.1])),
        *(("train_split", value) for value in (None, 3, " ")),
        *(("layout", value) for value in ("treee", None)),
        *(("length_grouped", value) for value in (1, "yes")),
        ("resume", "never"),
        ("load_options", [1]),
        ("chat_template", 3),
        *(("chat_template_kwargs", value) for value in ([1], {"tools": []}, {"a b": 1}, "x")),
        *(("chat_template_date", value) for value in ("30.11.2026", 3)),
        *(("eos", value) for value in ("sometimes", None)),
    ],
)
def test_a_wrong_setting_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^data\.{name}\b") as refused:
        PreferenceDataModule("pairs.jsonl", **{name: value})
    assert "\n" not in str(refused.value)


def test_a_prompt_that_may_be_as_long_as_everything_is_cut_by_nothing() -> None:
    with pytest.raises(InputError, match=r"^data\.max_prompt_length 16 cuts nothing at data\.max_length 16"):
        PreferenceDataModule("pairs.jsonl", max_length=16, max_prompt_length=16)
