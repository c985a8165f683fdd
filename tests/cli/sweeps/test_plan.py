"""Runs of a sweep, all checked before the first one starts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning.cli.sweeps.axes import axes_of
from dpo_lightning.cli.sweeps.plan import Planned, planned, shared_settings
from dpo_lightning.errors import InputError
from tests.helpers.sweeps import BETA, project

OUT = Path("sweep")
RUN = ["--config=run.yaml"]


class Begun(dict):
    """All runs have begun: they are parsed, and not built, which takes its time."""

    def get(self, name: str) -> Any:
        return {"made": name, "goes_on": False, "shares": False}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path)
    monkeypatch.chdir(tmp_path)


def runs_of(*over: str, words: Any = RUN, begun: Any = None, share: bool = False) -> list[Planned]:
    """The runs over axes."""
    return planned(axes_of(over, None), words, OUT, begun or {}, share=share)


def test_every_combination_is_a_run_with_all_its_values() -> None:
    runs = runs_of("model.objective=DPO,{class_path: IPO}", "seed_everything=0,1", begun=Begun())
    assert [run.name.replace(run.name.partition("IPO-")[2][:6], "...") for run in runs[2:]] == [
        "objective=IPO-...,seed=0",
        "objective=IPO-...,seed=1",
    ]
    assert [run.name for run in runs[:2]] == ["objective=DPO,seed=0", "objective=DPO,seed=1"]
    assert runs[3].checked.words == (*RUN, "--model.objective={class_path: IPO}", "--seed_everything=1")
    assert runs[3].values == {"model.objective": "{class_path: IPO}", "seed_everything": "1"}
    assert all(one.made != other.made for one, other in pairwise(runs))


def test_a_run_that_has_begun_is_parsed_alone_and_keeps_what_is_known(monkeypatch) -> None:
    monkeypatch.setattr("dpo_lightning.cli.sweeps.plan.built", lambda run: pytest.fail("built"))
    begun = {"beta=0.1": {"made": "x", "goes_on": True, "shares": True}}
    (run,) = runs_of(f"{BETA}=0.1", begun=begun, share=True)
    assert run.checked.goes_on
    assert run.checked.words[-1] == "--model.reference=Precomputed"


def test_two_runs_that_would_be_the_same_are_refused() -> None:
    with pytest.raises(InputError, match=r"sweep: beta=0.1 and beta=0.10 are the same run"):
        runs_of(f"{BETA}=0.1,0.10", begun=Begun())
    (run,) = runs_of(f"{BETA}=0.1", begun=Begun())
    with pytest.raises(InputError, match=r"sweep: beta=0.1 and beta=0.10 are the same run"):
        runs_of(f"{BETA}=0.10", begun={"beta=0.1": {"made": run.made}})
    with pytest.raises(InputError, match=r"--model.objective.beta is an axis and a flag"):
        runs_of(f"{BETA}=0.1", words=[*RUN, "--model.objective.beta=3"])
    with pytest.raises(InputError, match="two runs would have the directory policy=Model"):
        runs_of("model.policy=model,Model", begun=Begun())


def test_what_no_axis_changes_is_known_with_the_content_of_its_files(tmp_path: Path) -> None:
    axes = axes_of([f"{BETA}=0.1,0.2"], None)
    first = shared_settings(runs_of(f"{BETA}=0.1", begun=Begun()), axes)
    assert first == shared_settings(runs_of(f"{BETA}=0.2", begun=Begun()), axes)
    assert (first["model.objective"], first["model.optimizer.lr"]) == ("DPO", 0.01)
    assert "model.objective.beta" not in first
    with (tmp_path / "pairs.jsonl").open("a") as file:
        file.write("\n")
    second = shared_settings(runs_of(f"{BETA}=0.1", begun=Begun()), axes)
    assert [key for key in first if first[key] != second[key]] == ["content of pairs.jsonl"]
