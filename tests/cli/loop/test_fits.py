"""The config of a round's fit is the user's, and what the loop fills in is not theirs."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest

from dpo_lightning.cli.loop.fits import check_fit, fit_of_round
from dpo_lightning.cli.loop.settings import Loop
from dpo_lightning.errors import InputError
from tests.cli.loop.a_loop import config

LOOP = Loop("model", "prompts.jsonl")
ROUND = Path("out/round-2")


def callbacks(fit):
    return {each["class_path"]: each["init_args"] for each in fit["trainer"]["callbacks"]}


def test_policy_data_and_places_are_filled_in():
    given = config()["fit"]
    before = deepcopy(given)
    made = fit_of_round(given, LOOP, "out/round-1/model", ROUND)
    assert given == before
    assert made["model"] == {**given["model"], "policy": "out/round-1/model"}
    assert made["data"] == {**given["data"], "dataset": "out/round-2/pairs.jsonl"}
    assert made["trainer"]["default_root_dir"] == "out/round-2/run"
    assert made["trainer"]["logger"]["init_args"] == {"save_dir": "out/round-2/run"}
    assert callbacks(made) == {
        "ResumableCheckpoint": {"every_n_train_steps": 2, "dirpath": "out/round-2/checkpoints"},
        "Export": {"path": "out/round-2/model"},
    }


def test_adapters_are_merged_and_new_in_each_round():
    made = fit_of_round(config(fit__model__lora={"r": 2})["fit"], LOOP, "out/round-1/model", ROUND)
    assert callbacks(made)["Export"] == {"merged_path": "out/round-2/model"}
    assert made["model"]["lora"] == {"r": 2}


def test_a_trained_adapter_as_first_policy_is_merged(tmp_path):
    (tmp_path / "adapter_config.json").touch()
    made = fit_of_round(config()["fit"], LOOP, str(tmp_path), ROUND)
    assert callbacks(made)["Export"] == {"merged_path": "out/round-2/model"}


def test_the_first_policy_may_be_the_reference_of_all_rounds():
    first = Loop("model", "prompts.jsonl", reference="first")
    assert "reference" not in fit_of_round(config()["fit"], first, "model", ROUND)["model"]
    later = fit_of_round(config()["fit"], first, "out/round-1/model", ROUND)["model"]
    assert later["reference"] == {"class_path": "FrozenCopy", "init_args": {"checkpoint": "model"}}
    assert later["step_zero_check"] is False


def test_a_subclass_gets_its_arguments_and_dir_is_the_directory():
    fit = {
        "model": {"class_path": "my.Module", "init_args": {"gain": 2}},
        "data": {"class_path": "my.Data"},
        "trainer": {"callbacks": "Mine", "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "{dir}/a"}}},
    }
    made = fit_of_round(fit, LOOP, "model", ROUND)
    assert made["model"]["init_args"] == {"gain": 2, "policy": "model"}
    assert made["data"]["init_args"] == {"dataset": "out/round-2/pairs.jsonl"}
    assert made["trainer"]["logger"]["init_args"]["save_dir"] == "out/round-2/a"
    assert made["trainer"]["callbacks"][0] == "Mine"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"model__policy": "x"}, "fit.model.policy: the loop fills it in: give the first one as rounds.policy"),
        ({"model__reference": None}, "fit.model.reference: the loop fills it in: choose it with rounds.reference"),
        ({"data__dataset": "x"}, "fit.data.dataset: the loop fills it in: it is the pairs of the round"),
        ({"trainer__default_root_dir": "{dir}"}, "fit.trainer.default_root_dir: the loop fills it in"),
        ({"ckpt_path": "last"}, "fit.ckpt_path: the loop fills it in: each fit goes on from its own last checkpoint"),
        ({"modle": {}}, "fit.modle: no section of a config of fit"),
        ({"model": 3}, "fit.model must be a mapping, got 3"),
        (
            {"trainer__callbacks": [{"class_path": "Export", "init_args": {"path": "{dir}/x"}}]},
            "fit.trainer.callbacks.Export.path: the loop fills it in: leave it out",
        ),
        (
            {"trainer__callbacks": [{"class_path": "SampleTable", "init_args": {"path": "samples.md"}}]},
            "fit.trainer.callbacks.SampleTable.path: 'samples.md' would be one place for all rounds: begin it",
        ),
        (
            {"trainer__logger": [{"class_path": "CSVLogger", "init_args": {"save_dir": "runs"}}]},
            "fit.trainer.logger.CSVLogger.save_dir: 'runs' would be one place for all rounds",
        ),
    ],
)
def test_what_is_the_loops_is_refused(changes, line):
    with pytest.raises(InputError) as refused:
        check_fit(config(**{f"fit__{key}": value for key, value in changes.items()})["fit"])
    assert line in str(refused.value)


def test_an_export_in_the_best_form_is_the_users():
    fit = config(fit__trainer__callbacks=[{"class_path": "Export", "init_args": {"dtype": "bfloat16"}}])["fit"]
    check_fit(fit)
    assert callbacks(fit_of_round(fit, LOOP, "model", ROUND))["Export"] == {
        "dtype": "bfloat16",
        "path": "out/round-2/model",
    }
