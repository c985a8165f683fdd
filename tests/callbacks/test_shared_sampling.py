"""Sampling on several ranks: a share each, one failure for all, one line of progress."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from lightning.pytorch.callbacks import TQDMProgressBar

from dpo_lightning.callbacks import ProgressLine
from dpo_lightning.callbacks.shared_sampling import printer_of, sample_over_ranks
from dpo_lightning.policy.sampling import Sampling, prompt_batches, sample_batches
from tests.helpers.resumable import in_processes
from tests.helpers.tiny import tiny_llama

PROMPTS = [[1, 5], [1, 6, 7], [1, 8], [1, 9, 10, 11], [1, 12]]
SAMPLING = Sampling(2, 6, 1.0, 3, prompts_at_once=1)


def of(model: Any, bar: Any = None) -> list[list[list[int]]]:
    trainer = Mock(progress_bar_callback=bar, precision_plugin=Mock(forward_context=nullcontext))
    return sample_over_ranks(trainer, model, PROMPTS, 2, SAMPLING, "sampling")


def _rank(rank: int, path: Path) -> None:
    torch.distributed.init_process_group("gloo", rank=rank, world_size=int(os.environ["WORLD_SIZE"]))
    model, sampled = tiny_llama(), []
    model.register_forward_pre_hook(lambda *_: sampled.append(1))
    found: dict[str, Any] = {"whole": of(model), "forwards": len(sampled)}
    if rank == 1:
        model.generate = Mock(side_effect=torch.OutOfMemoryError("no memory on this rank"))
    try:
        of(model)
    except MemoryError as error:
        found["said"] = str(error)
    torch.save(found, path / f"{rank}.pt")


def test_ranks_share_the_prompts_and_what_fails_on_one_is_told_on_all(tmp_path: Path) -> None:
    assert in_processes(2, _rank, tmp_path, output=tmp_path) == [0, 0]
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    model, sampled = tiny_llama(), []
    model.register_forward_pre_hook(lambda *_: sampled.append(1))
    by_place = sample_batches(model, PROMPTS, prompt_batches(PROMPTS, SAMPLING), 2, SAMPLING)
    alone = [by_place[place] for place in range(len(PROMPTS))]
    assert found[0]["whole"] == found[1]["whole"] == alone
    assert sum(each["forwards"] for each in found) == len(sampled)
    assert min(each["forwards"] for each in found) > 0
    assert {each["said"] for each in found} == {"no memory on this rank"}


def test_the_progress_line_is_moved_to_its_end(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr("dpo_lightning.callbacks.progress_line._QUIET", 0)
    assert of(tiny_llama(), ProgressLine()) == of(tiny_llama())
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("sampling ") for line in lines)
    assert lines[-1].startswith("sampling 30/30  ")


def test_a_bar_of_tqdms_is_printed_beside() -> None:
    assert printer_of(Mock(progress_bar_callback=TQDMProgressBar())).__name__ == "write"
    assert printer_of(Mock(progress_bar_callback=ProgressLine())) is print
