"""Values that the parser takes, and that mean nothing."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping

from dpo_lightning.cli.main import main
from dpo_lightning.cli.values import check_values, refusals_of_others
from dpo_lightning.errors import InputError

QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"trainer": {"accumulate_grad_batches": 0}}, "trainer.accumulate_grad_batches must be at least 1, got 0"),
        ({"trainer": {"max_steps": -2}}, "trainer.max_steps must be at least -1, got -2"),
        ({"trainer": {"gradient_clip_val": math.nan}}, "trainer.gradient_clip_val: NaN is no setting: write a number"),
        ({"trainer": {"max_steps": None}}, "trainer.max_steps must be a whole number, got null"),
        ({"trainer": {"max_time": {"a": 1}}}, "trainer.max_time: 'a' is an invalid keyword argument"),
        ({"trainer": {"val_check_interval": {"a": 1}}}, "trainer.val_check_interval: 'a' is an invalid keyword"),
        ({"trainer": {"max_time": "bb"}}, "trainer.max_time: 'bb' is no duration: write numbers of days, "),
        ({"trainer": {"max_time": {}}}, "trainer.max_time: no time at all"),
        ({"trainer": {"num_nodes": 10**9}}, "trainer.num_nodes must be from 1 to 65536, got 1000000000"),
        ({"trainer": {"gradient_clip_algorithm": "norm"}}, "trainer.gradient_clip_algorithm: nothing is clipped"),
        ({"trainer": {}, "model": {"reference": {"class_path": "torch.nn.Module"}}}, "model.reference: a bare Module"),
        ({"trainer": 3}, "trainer: 3 is no mapping"),
        ({"trainer": None}, "trainer: None is no mapping"),
        ({"trainer": {}, "torch_threads": 0}, "torch_threads must be from 1 to 4096, got 0"),
        ({"trainer": {"devices": 2**31}}, "trainer.devices must be at most 4096, got 2147483648"),
        ({"trainer": {"devices": "99999"}}, "trainer.devices must be at most 4096, got 99999"),
        (
            {"trainer": {"devices": 3000, "accelerator": "cpu"}},
            f"trainer.devices: 3000 processes on {os.cpu_count()} cores of a CPU: take at most ",
        ),
        (
            {"trainer": {"strategy": "fsdp2"}},
            "trainer.strategy: no strategy fsdp2; what other trainers call `fsdp2` is ModelParallelStrategy",
        ),
        ({"trainer": {}, "seed_everything": -1}, "seed_everything must be from 0 to 4294967295, got -1"),
        (
            {"trainer": {"callbacks": [{"class_path": "dpo_lightning.UpdateGuard", "init_args": {"skips": None}}]}},
            "trainer.callbacks[0].skips must be a whole number, got null",
        ),
        (
            {"trainer": {}, "model": {"init_args": {"optimizer": {"init_args": {"betas": [0.9, math.nan]}}}}},
            "model.optimizer.betas[1]: NaN is no setting",
        ),
    ],
)
def test_a_wrong_value_is_named_by_its_key(config: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as refused:
        check_values(config)
    assert str(refused.value).startswith(line)


def test_what_means_something_passes() -> None:
    settings = {"max_steps": -1, "max_epochs": None, "gradient_clip_val": 0.5, "devices": "auto", "fast_dev_run": True}
    check_values({"trainer": settings, "torch_threads": None, "seed_everything": True})
    check_values({"trainer": {**settings, "devices": 2, "accelerator": "cpu", "strategy": "ddp"}})
    check_values({"trainer": {**settings, "devices": 3000, "accelerator": "gpu"}})


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"accelerator": "gpux"}, "trainer.accelerator: "),
        ({"strategy": "deepspeed"}, "trainer.strategy: "),
        ({"strategy": "nope"}, "trainer.strategy: "),
        ({"devices": "abc"}, "trainer.devices: "),
        ({"max_time": "nope"}, "trainer.max_time: "),
        ({"profiler": "nope"}, "trainer.profiler: "),
    ],
)
def test_what_the_trainer_refuses_is_one_line_with_the_key(settings: dict[str, Any], place: str) -> None:
    given = {**QUIET, **settings}
    with pytest.raises(InputError) as refused, refusals_of_others({"trainer": given}):
        Trainer(**given)
    assert str(refused.value).startswith(place)
    assert "\n" not in str(refused.value)


def test_what_a_callback_of_lightnings_refuses_is_one_line_with_the_key() -> None:
    init_args = {"monitor": "val/loss", "mode": "least"}
    path = "lightning.pytorch.callbacks.EarlyStopping"
    config = {"trainer": {"callbacks": [{"class_path": path, "init_args": init_args}]}}
    with pytest.raises(InputError, match=r"^trainer\.callbacks\[0\]\.mode: "), refusals_of_others(config):
        EarlyStopping(**init_args)


def test_an_error_in_somebodys_own_class_keeps_its_traceback() -> None:
    class Mine:
        def __init__(self) -> None:
            raise ValueError("a fault")

    with pytest.raises(ValueError, match=r"^a fault$"), refusals_of_others({"trainer": {}}):
        Mine()


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("DPO.beta must be so", "model.objective: DPO.beta must be so"),
        ("lora.r must be so", "model.lora.r must be so"),
        ("Export.path must be so", "Export.path must be so"),  # which of two is not known
        ("data.seed must be so", "data.seed must be so"),
    ],
)
def test_what_an_object_says_of_itself_gets_its_key(said: str, line: str) -> None:
    objective = {"class_path": "dpo_lightning.DPO", "init_args": {"beta": 0}}
    model = {"class_path": "dpo_lightning.PreferenceModule", "init_args": {"objective": objective, "lora": {"r": 0}}}
    config = {"model": model, "trainer": {"callbacks": [{"class_path": "dpo_lightning.Export"}] * 2}}
    with pytest.raises(InputError) as refused, refusals_of_others(config):
        raise InputError(said)
    assert str(refused.value) == line


def test_arguments_and_date_of_the_chat_template_by_flag(capsys):
    config = str(Path(__file__).parents[2] / "configs/recipes/truthy_phi2.yaml")
    flags = ["--data.chat_template_kwargs.enable_thinking", "false", "--data.chat_template_date", "2026-11-30"]
    with pytest.raises(SystemExit) as left:
        main(["fit", "--config", config, *flags, "--data.eos", "never", "--print_config"])
    assert not left.value.code
    data = yaml.safe_load(capsys.readouterr().out)["data"]
    data = data.get("init_args", data)
    assert data["chat_template_kwargs"] == {"enable_thinking": False}
    assert (data["chat_template_date"], data["eos"]) == ("2026-11-30", "never")
