"""The page for those who come from other tools says what the command answers, and names what is here."""

from __future__ import annotations

import re
from inspect import signature
from typing import Any

from lightning.pytorch import Trainer
from torch.optim import AdamW

from dpo_lightning import DPO, Cosine, LoRA, PreferenceDataModule, PreferenceModule
from tests.docs.blocks import ROOT

SECTIONS = {"data": PreferenceDataModule, "model": PreferenceModule, "trainer": Trainer}
INSIDE = {"objective": DPO, "optimizer": AdamW, "schedule": Cosine, "lora": LoRA}
PAGE = (ROOT / "docs/other-tools.md").read_text(encoding="utf-8")


def is_taken(name: str) -> bool:
    """Tell whether a run has a key."""
    section, *path = name.split(".")
    kind: Any = SECTIONS[section]
    for word in path:
        if word not in signature(kind).parameters:
            return False
        kind = INSIDE.get(word)
    return True


def test_what_else_it_names_is_there() -> None:
    named = set(re.findall(r"`((?:data|model|trainer)\.[\w.]+)`", PAGE))
    assert [name for name in named if not is_taken(name)] == []
