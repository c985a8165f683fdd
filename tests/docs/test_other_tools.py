"""The page for those who come from other tools says what the command answers, and names what is here."""

from __future__ import annotations

import re
from inspect import signature
from typing import Any

import pytest
from lightning.pytorch import Trainer
from torch.optim import AdamW

import dpo_lightning
from dpo_lightning import DPO, Cosine, LoRA, PreferenceDataModule, PreferenceModule
from dpo_lightning.cli.other_names import KEYS, LOSSES, Loss
from tests.docs.blocks import ROOT

SECTIONS = {"data": PreferenceDataModule, "model": PreferenceModule, "trainer": Trainer}
INSIDE = {"objective": DPO, "optimizer": AdamW, "schedule": Cosine, "lora": LoRA}
PAGE = (ROOT / "docs/other-tools.md").read_text(encoding="utf-8")


def table(heading: str) -> dict[str, str]:
    """A table of the page: each name of the first column, and the cell beside it without backticks."""
    text = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0].partition("|---|---|")[2]
    rows = re.findall(r"^\| (`.+?) \| (.+?) \|$", text, re.M)
    return {name: right.replace("`", "") for left, right in rows for name in re.findall(r"`(\w+)`", left)}


@pytest.mark.parametrize(("heading", "known"), [("Keys", KEYS), ("Losses", LOSSES)])
def test_a_table_is_what_the_command_answers(heading: str, known: dict[str, object]) -> None:
    written = table(heading)
    assert written.keys() == known.keys()
    assert [name for name, here in known.items() if not written[name].startswith(str(here))] == []


def is_taken(name: str) -> bool:
    """Tell whether a run has a key."""
    section, *path = name.split(".")
    kind: Any = SECTIONS[section]
    for word in path:
        if word not in signature(kind).parameters:
            return False
        kind = INSIDE.get(word)
    return True


@pytest.mark.parametrize("name", sorted({here.partition(",")[0].strip() for here in KEYS.values()} - {"ckpt_path"}))
def test_a_key_is_one_of_a_run(name: str) -> None:
    assert is_taken(name)


@pytest.mark.parametrize("loss", sorted({*LOSSES.values()}), ids=str)
def test_a_loss_is_a_class_with_the_setting(loss: Loss) -> None:
    kind = getattr(dpo_lightning, loss.name)
    assert issubclass(kind, dpo_lightning.AnyObjective)
    for key, value in loss.settings:
        assert getattr(kind(**{key: value}), key) is value


def test_what_else_it_names_is_there() -> None:
    named = set(re.findall(r"`((?:data|model|trainer)\.[\w.]+)`", PAGE))
    assert [name for name in named if not is_taken(name)] == []
    for name in ("Weighted", "LDDPO", "WPO", "FDivergence", "RPO", "Precomputed", "ResumableCheckpoint"):
        assert f"`{name}`" in PAGE
        assert hasattr(dpo_lightning, name)
