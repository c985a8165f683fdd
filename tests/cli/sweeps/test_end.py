"""What a sweep ends with, of runs that are recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning.cli.sweeps.axes import Axis
from dpo_lightning.cli.sweeps.checked import Checked
from dpo_lightning.cli.sweeps.end import end_of_sweep
from dpo_lightning.cli.sweeps.kept import FAILED, FINISHED, Kept
from dpo_lightning.cli.sweeps.plan import Planned
from dpo_lightning.errors import InputError
from tests.helpers.recorded import write_run

AXES = [Axis("model.objective.beta", ("0.1", "0.5")), Axis("data.seed", ("0", "1"))]


def swept(directory: Path) -> Kept:
    """A sweep of four runs that are finished, and one that failed."""
    kept, runs = Kept(directory), []
    for beta in AXES[0].values:
        for seed in AXES[1].values:
            name = f"beta={beta},seed={seed}"
            runs.append(Planned(name, dict(zip([a.key for a in AXES], (beta, seed), strict=True)), Checked((), {}, {})))
    kept.take(runs, AXES, {})
    for run in runs[:-1]:
        beta, seed = run.values.values()
        write_run(directory / run.name, beta=float(beta), seed=int(seed))
        kept.runs[run.name]["status"] = FINISHED
    kept.runs[runs[-1].name].update(status=FAILED, said="error: no")
    return kept


def test_table_files_picture_and_page(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    assert end_of_sweep(swept(Path("out")), AXES, None, None)
    printed = capsys.readouterr().out
    assert all(len(line) <= 80 for line in printed.splitlines() if "│" in line)
    lines = printed.splitlines()
    assert lines[0] == "failed: beta=0.5,seed=1: error: no (out/outputs/beta=0.5,seed=1.txt)"
    assert "sorted by val/rewards/accuracies, the highest first" in lines
    assert lines[-1] == "in out/sweep.csv, out/sweep.json, out/sweep.png, out/report.html"
    rows = [line.split("│")[1:-1] for line in lines if line.startswith("│")]
    assert sorted(row[0].strip() for row in rows) == ["0.1", "0.5"]
    assert {row[0].strip(): row[2].strip() for row in rows} == {"0.1": "2", "0.5": "1"}
    assert any("±" in row[1] for row in rows)
    assert "<h1>3 runs</h1>" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_seeds_alone_are_an_axis_of_the_picture(tmp_path: Path, capsys) -> None:
    kept = swept(tmp_path)
    kept.runs = {name: run for name, run in kept.runs.items() if name.startswith("beta=0.1")}
    for run in kept.runs.values():
        run["values"] = {"data.seed": run["values"]["data.seed"]}
    assert not end_of_sweep(kept, AXES[1:], "val/loss", None)
    assert "sorted by val/loss, the lowest first" in capsys.readouterr().out
    assert (tmp_path / "sweep.png").exists()


def test_without_matplotlib_a_line_is_all_that_is_lost(tmp_path: Path, monkeypatch, capsys) -> None:
    def draw(*arguments: object) -> None:
        raise InputError("curves as a picture need matplotlib")

    monkeypatch.setattr("dpo_lightning.cli.sweeps.end.draw_sweep", draw)
    end_of_sweep(swept(tmp_path), AXES, None, None)
    printed = capsys.readouterr().out
    assert "no picture: curves as a picture need matplotlib\n" in printed
    assert (tmp_path / "report.html").exists()


def test_an_unknown_metric_loses_nothing(tmp_path: Path, capsys) -> None:
    with pytest.raises(InputError, match="no run has logged val/x"):
        end_of_sweep(swept(tmp_path), AXES, "val/x", None)
    assert (tmp_path / "sweep.csv").exists()
    assert Kept(tmp_path).runs
    assert "failed: beta=0.5,seed=1" in capsys.readouterr().out
