"""A run of a sweep, checked before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dpo_lightning.cli.sweeps.checked import built, cached, parsed, sharing_reference
from dpo_lightning.errors import InputError
from tests.helpers.sweeps import BETA, project

OWN = Path("sweep/x")
RUN = ["--config=run.yaml"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path)
    monkeypatch.chdir(tmp_path)


def test_a_run_is_built_and_leaves_nothing(tmp_path: Path, capfd) -> None:
    before, state = {*tmp_path.iterdir()}, torch.get_rng_state()
    run = built(parsed([*RUN, f"--{BETA}=0.3"], OWN))
    assert run.settings["model"]["init_args"]["objective"]["init_args"]["beta"] == 0.3
    assert run.outputs["trainer"]["callbacks"][0]["init_args"]["dirpath"] == "sweep/x/saved"
    assert (run.goes_on, run.scores_each_step, run.shares) == (True, True, False)
    assert {*tmp_path.iterdir()} == before
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr().out == ""


def test_whether_a_run_goes_on_is_whether_its_checkpoints_are_found() -> None:
    assert not built(parsed([*RUN, "--trainer.callbacks=[]"], OWN)).goes_on


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], "Precomputed"),
        (
            ["--model.reference=FrozenCopy", "--model.reference.checkpoint=model"],
            '{"class_path": "Precomputed", "init_args": {"source": {"class_path": "dpo_lightning.FrozenCopy", '
            '"init_args": {"checkpoint": "model", "model_kwargs": null}}}}',
        ),
    ],
)
def test_a_reference_goes_behind_the_cache(words: list[str], given: str) -> None:
    run = sharing_reference(built(parsed([*RUN, *words], OWN)), OWN)
    assert run.words == (*RUN, *words, f"--model.reference={given}")
    assert (run.shares, run.scores_each_step) == (True, False)
    assert run.settings["model"]["init_args"]["reference"]["class_path"] == "dpo_lightning.Precomputed"
    again = cached(parsed([*RUN, *words], OWN), OWN)
    assert (again.words, again.settings) == (run.words, run.settings)


@pytest.mark.parametrize(
    "words",
    [
        ["--model.objective=SimPO"],
        ["--model.reference=Precomputed"],
        ["--trainer.callbacks=EMAReference"],
    ],
)
def test_where_there_is_nothing_to_share_the_run_stays_as_it_is(words: list[str]) -> None:
    run = built(parsed([*RUN, *words], OWN))
    assert not run.scores_each_step
    assert sharing_reference(run, OWN) is run


def test_what_a_fit_would_refuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ckpt_path: runs begin from model.policy"):
        parsed([*RUN, "--ckpt_path=last"], OWN)
    with pytest.raises(InputError, match=r"model.objective: DPO.beta must be a finite number greater than 0"):
        built(parsed([*RUN, f"--{BETA}=0"], OWN))
    (tmp_path / "sweep").touch()
    with pytest.raises(InputError, match="sweep is a file"):
        built(parsed(RUN, OWN))
