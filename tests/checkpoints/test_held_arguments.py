"""The form in which a checkpoint holds an argument: plain where the parser makes the argument of it again."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any, Optional

import pytest
import torch

from dpo_lightning import LoRA, PreferenceModule, SimPO
from dpo_lightning.checkpoints.held_arguments import held_form, restored_arguments
from dpo_lightning.checkpoints.plain_form import NoPlainForm
from dpo_lightning.errors import InputError


class Mode(Enum):
    FAST = "fast"


class Owner:
    """Has arguments of all kinds."""

    def __init__(
        self,
        mode: Optional[Mode] = None,
        bare=None,
        path: Optional[Path] = None,
        sizes: Optional[tuple[int, ...]] = None,
        text: Optional[str] = None,
        lora: Optional[LoRA] = None,
        options: Optional[dict[str, Any]] = None,
        with_default: Any = (1, 2),
    ) -> None: ...


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("path", Path("a")), ("sizes", (1, 2)), ("text", "a: 1b"), ("lora", LoRA(r=2)), ("bare", SimPO())),
        *(("options", {"revision": "main"}), ("bare", [1, "a"]), ("text", None), ("no_argument", (1, 2))),
    ],
)
def test_what_the_parser_reads_is_held_plain(name: str, value: Any) -> None:
    assert held_form(Owner, name, value).whole is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("mode", Mode.FAST), ("bare", Mode.FAST), ("bare", Path("a")), ("bare", (1, 2)), ("bare", LoRA(r=2))),
        *(("bare", "1"), ("text", "null"), ("options", {"revision": "1"}), ("bare", {3}), ("with_default", [(1,)])),
    ],
)
def test_what_the_parser_would_make_something_else_of_is_held_whole(name: str, value: Any) -> None:
    whole = held_form(Owner, name, value).whole
    again = restored_arguments(Owner, {name: whole}, "checkpoint x")[name]
    assert type(again) is type(value)
    assert again == value


class Text(str):
    """A text of one's own, which no form makes again."""

    __slots__ = ()


@pytest.mark.parametrize("value", [Text("a"), [Text("a")], {"token": "secret", "mode": Mode.FAST}])
def test_what_would_come_back_as_something_else_is_not_held(value: Any) -> None:
    with pytest.raises(NoPlainForm) as found:
        held_form(Owner, "bare", value)
    assert found.value.whole == f"{type(value).__name__}, which would come back as something else"


def test_a_class_that_was_not_imported_is_named() -> None:
    whole = {"bare": ("enum", "elsewhere", "Mode", ("is", 1)), "gone": ("is", 1)}
    message = (
        r"^checkpoint x: its bare: elsewhere.Mode is no such class, or was not imported: import elsewhere first if "
    )
    with pytest.raises(InputError, match=message + r"you trust it, or load_from_checkpoint\(..., bare=it\)$"):
        restored_arguments(Owner, whole, "checkpoint x")


def test_a_whole_form_brings_no_code_either(tmp_path: Path) -> None:
    """`trust_remote_code` and the like count only where the caller says them, whatever form a file has them in."""
    form = ("dict", [(("is", "trust_remote_code"), ("is", True))])
    copied = ("dataclass", "dpo_lightning.reference.frozen", "FrozenCopy", {"model_kwargs": form})
    for name, whole in {"model_kwargs": form, "reference": copied}.items():
        saved = {"state_dict": {}, "hyper_parameters": {"policy": "some/model"}, "whole_arguments": {name: whole}}
        torch.save(saved, tmp_path / "a.ckpt")
        with pytest.raises(InputError, match=r"model_kwargs\.trust_remote_code: True.* runs code beside a model"):
            PreferenceModule.load_from_checkpoint(tmp_path / "a.ckpt")
        opened = f"{name}.trust_remote_code" if name == "model_kwargs" else "reference.model_kwargs.trust_remote_code"
        with pytest.raises(InputError, match=re.escape(opened)):
            PreferenceModule.load_from_checkpoint(tmp_path / "a.ckpt", policy="another/model")


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("lora", {"r": 4}),
        ("objective", {"class_path": "dpo_lightning.SimPO", "init_args": {"beta": 2.0}}),
        ("optimizer", {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-5}}),
    ],
)
def test_what_the_commands_parser_keeps_as_a_config_is_one_for_the_parser_that_loads(name: str, config: Any) -> None:
    assert held_form(PreferenceModule, name, config) == (config, None)
