"""Short names of classes, by what an argument takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Optional, Union

from lightning.pytorch import Callback
from torch import nn
from torch.optim import Optimizer

import dpo_lightning
from dpo_lightning import DPO, LoRA, Reference
from dpo_lightning.cli.class_names import classes_of, fitting_names, is_own

ALL = [getattr(dpo_lightning, name) for name in dpo_lightning.__all__]  # a class is found once it is loaded


def test_the_classes_inside_an_annotation() -> None:
    assert list(classes_of(Optional[Union[Reference, nn.Module, int]])) == [Reference, nn.Module]
    assert list(classes_of(Callable[[Iterable], Optimizer])) == [Optimizer]


def test_names_are_of_the_kind_alone_and_public() -> None:
    assert fitting_names(Optional[Union[Reference, nn.Module]]) == [
        *("AdapterOff", "FrozenAdapter", "FrozenCopy", "FrozenModule", "NoReference", "Precomputed")
    ]
    assert fitting_names(Optional[LoRA]) == ["LoRA"]
    assert fitting_names(nn.Module) == fitting_names(int) == []
    of_callbacks = fitting_names(Union[list[Callback], Callback])
    assert {"SampleTable", "EarlyStopping"} <= {*of_callbacks}
    assert not {"Callback", "ExactResume", "LoRA"} & {*of_callbacks}
    assert {"AdamW", "SGD"} <= {*fitting_names(Callable[[Iterable], Optimizer])}


def test_what_is_of_the_package() -> None:
    assert is_own(DPO)
    assert not is_own(Callback)
