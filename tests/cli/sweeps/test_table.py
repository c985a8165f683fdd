"""The table of a sweep."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.sweeps.axes import Axis
from dpo_lightning.cli.sweeps.results import Row, groups_of, ordered
from dpo_lightning.cli.sweeps.table import show


def test_it_fits_a_terminal_whatever_the_values(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    axes = [
        Axis("model.objective", ("{class_path: a.very.long.Name, init_args: {beta: 0.1}}", "\x1b[31mred")),
        Axis("b", ("1",)),
    ]
    metrics = {"val/rewards/accuracies": 0.71, "val/loss": 0.4, "val/rewards/margins": -12.5}
    rows = [
        Row("x", {"model.objective": axes[0].values[0], "b": "1"}, "finished", metrics, None),
        Row("y", {"model.objective": axes[0].values[1], "b": "1"}, "failed", {}, None),
    ]
    metric = "val/rewards/accuracies"
    show(ordered(groups_of(rows, metric), lower=False), rows, axes, metric)
    printed = capsys.readouterr().out
    assert all(len(line) <= 80 for line in printed.splitlines())
    assert "\x1b[31m" not in printed
    assert printed.index("finished") < printed.index("failed")
    for said in ("0.71", "0.4", "-12.5"):
        assert said in printed
