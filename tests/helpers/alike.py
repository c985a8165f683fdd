"""Runs that must come out alike: equal weights, and one process or two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.resumable import Case, prepare, start, wait, weights


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], bound: float = 1e-5) -> None:
    """Weights of the same names, which differ by no more than the bound."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=bound, msg=name)


def assert_two_processes_are_one(path: Path, objective: Any, row_format: Any, **settings: Any) -> None:
    """Two processes log what one does, and end with its weights; `settings` are the Trainer's."""
    prepare(path)
    model, loop = {"objective": objective, "dropout": False}, {"max_epochs": 1, **settings}
    found = {}
    for processes, strategy in ((1, "auto"), (2, "ddp")):
        form = {"batch_pairs": 4 // processes, "length_grouped": False, "format": row_format}
        case = Case(data=form, processes=processes, strategy=strategy, model=model, trainer=loop)
        run = path / f"run {processes}"
        assert wait(start(path, run, case)) == [0] * processes, (run / "output-0.txt").read_text()[-3000:]
        logged = [json.loads(line) for line in (run / "journal-log.jsonl").read_text().splitlines()]
        values = [{name: float.fromhex(value) for name, value in entry[1].items()} for entry in logged]
        found[processes] = values, {name: value for name, value in weights(run).items() if name.startswith("weights-0")}

    assert len(found[1][0]) == len(found[2][0]) > 2
    for one, two in zip(found[1][0], found[2][0], strict=True):
        assert two == pytest.approx(one, rel=1e-3, abs=1e-4)
    assert_same(found[2][1], found[1][1], bound=1e-4)
