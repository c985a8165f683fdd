"""A policy that a run has left: its file, its config's settings, its tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dpo_lightning.cli.saved_policy import loaded_module, run_settings, run_tokenizer, saved_dtype, single_file
from dpo_lightning.errors import InputError
from tests.helpers.runs import data, fit, module, saved_model
from tests.helpers.shards import write_shards


def test_shards_are_a_file_for_a_while(tmp_path: Path) -> None:
    run, _ = fit(tmp_path, module(saved_model(tmp_path / "model")), max_steps=1, precision="bf16-true")
    run.save_checkpoint(tmp_path / "run.ckpt")
    shards = write_shards(torch.load(tmp_path / "run.ckpt", weights_only=True), tmp_path / "shards")
    with single_file(shards) as file:
        assert saved_dtype(file) is torch.bfloat16
        loaded = loaded_module(file, run_settings(None, "generate"))
    assert not file.exists()
    trained = run.lightning_module.state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in loaded.state_dict().items())
    with pytest.raises(InputError, match="is no directory of shards"), single_file(tmp_path / "run.ckpt", file):
        pass


def test_the_config_says_the_tokenizer_and_the_policy_stands_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(
        "model: {policy: there, lora: {r: 4}}\ndata: {tokenizer: mine, batch_pairs: 4}\n"
    )
    assert run_settings(tmp_path / "run.yaml", "generate") == {
        "model": {"policy": "there"},
        "data": {"tokenizer": "mine", "chat_template": None, "chat_template_kwargs": None},
    }
    directory = saved_model(tmp_path / "model")
    assert run_tokenizer({}, directory).eos_token == "</s>"
    assert run_tokenizer({}, str(data(tmp_path))) is None
    assert "no tokenizer beside the model" in capsys.readouterr().err
    with pytest.raises(InputError, match="mine"):
        run_tokenizer({"tokenizer": "mine"}, directory)
