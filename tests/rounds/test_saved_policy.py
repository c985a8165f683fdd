"""A policy that a run has left: its file, its config's settings, its tokenizer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.report.record import RunRecord, write_document
from dpo_lightning.rounds.saved_policy import (
    check_source,
    loaded_module,
    run_settings,
    run_tokenizer,
    saved_dtype,
    single_file,
)
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
        "data": {"tokenizer": "mine", "chat_template": None, "chat_template_kwargs": None, "chat_template_date": None},
    }
    directory = saved_model(tmp_path / "model")
    assert run_tokenizer({}, directory).eos_token == "</s>"
    assert run_tokenizer({}, str(data(tmp_path))) is None
    assert "no tokenizer beside the model" in capsys.readouterr().err
    with pytest.raises(InputError, match="mine"):
        run_tokenizer({"tokenizer": "mine"}, directory)


def test_what_is_beside_a_model_names_what_to_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("step=2.ckpt", "step=10.ckpt")):
        (tmp_path / "runs/checkpoints" / name).mkdir(parents=True)
        os.utime(tmp_path / "runs/checkpoints" / name, (number, number))
    newest = "name a checkpoint, the newest is runs/checkpoints/step=10.ckpt"
    record = RunRecord(Path("runs/version_0"))
    write_document(record.facts, {"places": {"checkpoint": "runs/checkpoints/step=2.ckpt", "export": "gone"}})
    for source, line in {
        "runs/checkpoints": f"generate: runs/checkpoints is no model: {newest}",
        "runs": f"generate: runs is no model: {newest}",
        "runs/checkpoints/last.ckpt": f"generate: there is no checkpoint runs/checkpoints/last.ckpt: {newest}",
        "runs/version_0": "generate: runs/version_0 is the directory of a run: its checkpoint is "
        "runs/checkpoints/step=2.ckpt",
    }.items():
        with pytest.raises(InputError) as refused:
            check_source(source, "generate")
        assert str(refused.value) == line
    record.facts.write_text("{")  # damaged
    with pytest.raises(InputError, match="name a checkpoint, or a model"):
        check_source("runs/version_0", "generate")


def test_models_checkpoints_and_names_are_left_to_their_readers(tmp_path: Path) -> None:
    for name in ("config.json", "adapter_config.json", ".metadata"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / name).touch()
        (tmp_path / name / "checkpoints/a.ckpt").touch()
        check_source(str(tmp_path / name), "generate")
    for source in (str(tmp_path / "config.json/checkpoints/a.ckpt"), "Qwen/Qwen2.5-0.5B", str(tmp_path)):
        check_source(source, "generate")
