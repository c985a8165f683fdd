"""Two processes see the same batches, make the same steps and report the same means as one."""

from __future__ import annotations

import csv
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.strategies import DDPStrategy
from safetensors.torch import load_file
from torch.optim import SGD

from dpo_lightning import PreferenceDataModule, PreferenceModule
from dpo_lightning.data import ExampleTokenizer
from tests.helpers.ranks import run_command, run_ranks, succeed
from tests.helpers.runs import MEASURED, saved_model, trainer, write_rows


def run(
    path: Path, processes: int, lora: bool = False, name: str = "", **changes: dict[str, Any]
) -> tuple[list[dict[str, str]], dict[str, torch.Tensor]]:
    """A run of the command; its log, and the trained parameters."""
    name = name or str(processes)
    out = path / name
    config: dict[str, Any] = {
        "model": {
            "policy": str(path / "model"),
            "lora": {"r": 4} if lora else None,
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
        },
        "data": {
            "dataset": str(path / "pairs.jsonl"),
            # 7 validation pairs on 2 processes: 4 and 3
            "val_split": "train[:7]",
            "batch_pairs": 4 // processes,
            "eval_batch_pairs": 2,
        },
        "trainer": {
            "accelerator": "cpu",
            "devices": processes,
            "strategy": "ddp" if processes > 1 else "auto",
            "max_epochs": 2,
            "log_every_n_steps": 3,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": str(out)}},
            "callbacks": [
                {"class_path": "ModelCheckpoint", "init_args": {"dirpath": str(out / "ckpt"), "save_last": True}},
                {"class_path": "Export", "init_args": {"path": str(out / "export")}},
            ],
        },
    }
    for section, settings in changes.items():
        config[section] = {**config[section], **settings}
    (path / f"{name}.yaml").write_text(yaml.safe_dump(config))
    words = ["fit", "--config", str(path / f"{name}.yaml")]
    succeed(run_command(words, path, processes), path)
    with next(out.glob("**/metrics.csv")).open() as file:
        logged = list(csv.DictReader(file))
    return logged, torch.load(out / "ckpt/last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_two_processes_equal_one(tmp_path, lora):
    saved_model(tmp_path / "model")
    write_rows(tmp_path / "pairs.jsonl", 24)
    (one_logged, one_weights), (two_logged, two_weights) = (run(tmp_path, processes, lora) for processes in (1, 2))
    assert one_weights.keys() == two_weights.keys()
    for name, value in one_weights.items():
        torch.testing.assert_close(two_weights[name], value, rtol=1e-4, atol=1e-5)
    assert len(one_logged) == len(two_logged) == 1 + 4 + 2  # the start, four means of three steps, two validations
    for one, two in zip(one_logged, two_logged, strict=True):
        assert {k: float(v) for k, v in two.items() if v and k not in MEASURED} == pytest.approx(
            {k: float(v) for k, v in one.items() if v and k not in MEASURED}, rel=1e-3, abs=1e-4
        )
    assert (tmp_path / "2/export").is_dir()


def test_one_step_of_two_processes_is_that_of_one_micro_batch(tmp_path):
    """23 pairs in one optimizer step: ranks, micro-batches and the cut window differ in their number of pairs."""
    start = saved_model(tmp_path / "model")
    pairs = write_rows(tmp_path / "pairs.jsonl", 23)
    whole = PreferenceModule(start, optimizer=lambda params: SGD(params, lr=1.0))
    trainer(max_steps=1).fit(whole, PreferenceDataModule(pairs, start, batch_pairs=23, layout="padded"))
    expected = whole.state_dict()
    before = load_file(Path(start) / "model.safetensors")
    assert max((expected[f"policy.{name}"] - value).abs().max().item() for name, value in before.items()) > 0.01
    changes = {
        "model": {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 1.0}}},
        "trainer": {"max_epochs": 1, "accumulate_grad_batches": 99, "limit_val_batches": 0, "log_every_n_steps": 1},
    }
    tokens = {"batch_pairs": None, "batch_tokens": 130, "layout": "tree"}
    for name, settings in (("pairs", {"batch_pairs": 4}), ("tokens", tokens)):
        _, found = run(tmp_path, 2, name=name, data={"val_split": None, **settings}, **changes)
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=1e-6)


def tokenise_for_longer_than_the_timeout(path: Path) -> None:
    """Fit on two ranks; each call of the tokenizer says of which rank it is."""
    encode = ExampleTokenizer.encode

    def slowly(self: ExampleTokenizer, examples: Any) -> Any:
        (path / f"tokenised-by-{os.environ['RANK']}").touch()
        time.sleep(7)
        return encode(self, examples)

    ExampleTokenizer.encode = slowly  # type: ignore[method-assign]
    strategy = DDPStrategy(process_group_backend="gloo", timeout=timedelta(seconds=5))
    module = PreferenceModule(str(path / "model"), optimizer=lambda params: SGD(params, lr=0.1))
    pairs = PreferenceDataModule(str(path / "pairs.jsonl"), str(path / "model"), batch_pairs=2, layout="padded")
    trainer(devices=2, strategy=strategy, max_steps=1).fit(module, pairs)


def test_rank_0_may_tokenise_for_longer_than_a_collective_waits(tmp_path):
    saved_model(tmp_path / "model")
    write_rows(tmp_path / "pairs.jsonl", 8)
    run_ranks(tokenise_for_longer_than_the_timeout, tmp_path, output=tmp_path)
    assert [each.name for each in tmp_path.glob("tokenised-by-*")] == ["tokenised-by-0"]
