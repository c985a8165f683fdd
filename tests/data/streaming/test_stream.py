"""Runs on a stream: counted, held against plain loops, resumed, and on two ranks."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import IterableDataset
from lightning.pytorch.callbacks import ModelCheckpoint

from dpo_lightning import PreferenceDataModule, PreferenceModule, UnpairedBCO, UnpairedFormat
from dpo_lightning.batch import collate_padded
from dpo_lightning.errors import InputError
from tests.data.common import MIXED, Recorder, flat, rows, write
from tests.data.common import run as record
from tests.helpers.resumable import in_processes
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

ROWS = rows(23)


def stream(directory: Path, given: Any = None, **settings: Any) -> PreferenceDataModule:
    source = write(directory / "rows.jsonl", ROWS) if given is None else given
    tokenizer = tiny_tokenizer()
    small = {"batch_pairs": 4, "shuffle_buffer": 7, "streaming": True, "max_length": 60}
    return PreferenceDataModule(source, tokenizer, **{**small, **settings})


class Off(PreferenceModule):
    """A policy that is not its reference, so that each pair has a loss of its own."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(tiny_llama(), reference=tiny_llama(seed=1), step_zero_check=False, **settings)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batches", [{}, {"batch_pairs": None, "batch_tokens": 120, "layout": "tree"}])
def test_every_pass_has_every_row_once_in_another_order(tmp_path, num_workers, batches):
    source = stream(tmp_path, num_workers=num_workers, **batches)
    source.setup()
    loader = source.train_dataloader()
    passes = []
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        passes.append(flat(loader))
    assert [sorted(each) for each in passes] == [[*range(23)]] * 3
    assert len({*map(tuple, passes)}) == 3


def test_lightning_counts_passes_and_ends_by_steps(tmp_path):
    module = Recorder()
    fit = record(module, stream(tmp_path, val_split="train[:5]"), max_epochs=-1, max_steps=14)
    assert [len(batch) for batch in module.seen["train"]] == [4, 4, 4, 4, 4, 3, 4, 4, 4, 4, 4, 3, 4, 4]
    assert fit.current_epoch == 3  # Lightning counts the pass that a limit cuts
    assert len(module.seen["val"]) == 4  # two batches at the end of each pass


def test_the_loss_is_the_mean_over_the_whole_optimizer_step(run, tmp_path):
    source, still = stream(tmp_path), partial(torch.optim.SGD, lr=0.0)
    ends = {"accumulate_grad_batches": 4, "max_epochs": 1, "max_steps": 100}
    fitted = run(data=source, module=Off(optimizer=still), **ends)
    model = Off()
    model.configure_model()
    alone = {each.row: model.objective(model.score(collate_padded([each]))).item() for each in examples(source)}
    order = flat(source.train_dataloader())
    means = [sum(fitted.losses[:4]), sum(fitted.losses[4:])]
    expected = [sum(alone[row] for row in step) / len(step) for step in (order[:16], order[16:])]
    assert means == pytest.approx(expected, rel=1e-4)


def examples(source: PreferenceDataModule) -> list[Any]:
    table = PreferenceDataModule(source.dataset, tiny_tokenizer(), max_length=60)
    table.setup()
    return list(table.examples("train"))


@pytest.mark.parametrize("settings", [{}, {"num_workers": 2}, {"batch_pairs": None, "batch_tokens": 120}])
def test_a_resumed_run_goes_on_bit_for_bit(run, tmp_path, settings):
    keep = ModelCheckpoint(tmp_path / "kept", "{step}", every_n_train_steps=1, save_top_k=-1)
    ends = {"max_steps": 8, "max_epochs": -1, "accumulate_grad_batches": 2}
    whole = run(keep, data=stream(tmp_path, **settings), module=Off(), enable_checkpointing=True, **ends)
    for step in (1, 3, 5):
        rest = run(
            data=stream(tmp_path, **settings), module=Off(), ckpt_path=tmp_path / f"kept/step={step}.ckpt", **ends
        )
        assert rest.losses == whole.losses[-len(rest.losses) :]
        assert len(whole.losses) > len(rest.losses) > 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"shuffle_buffer": 8}, "was written with content"),
        ({"max_length": 50}, "was written with content"),
        ({"given": [*ROWS[1:], ROWS[0]]}, "was written with content"),
        ({"seed": 3}, "was written with seed 0, this run has 3"),
        ({"batch_pairs": 5}, "was written with batch_pairs 4, this run has 5"),
    ],
)
def test_a_checkpoint_of_another_stream_is_refused(run, tmp_path, changed, said):
    keep = ModelCheckpoint(tmp_path / "kept", "{step}", every_n_train_steps=2, save_top_k=-1)
    run(keep, data=stream(tmp_path), module=Off(), enable_checkpointing=True, max_steps=2)
    rewritten = changed.pop("given", None)
    other = stream(tmp_path, None if rewritten is None else write(tmp_path / "rows.jsonl", rewritten), **changed)
    with pytest.raises(InputError, match=said):
        run(data=other, module=Off(), ckpt_path=tmp_path / "kept/step=2.ckpt", max_steps=4)


def test_bad_rows_are_named_and_dropped_ones_are_said(tmp_path, caplog):
    with caplog.at_level("INFO"):
        record(Recorder(), stream(tmp_path, write(tmp_path / "mixed.jsonl", MIXED), max_length=40), max_steps=3)
    assert (
        "mixed.jsonl, split train, epoch 0: 9 examples kept (1 of them truncated); dropped 1 with an empty completion, "
        "1 with an empty prompt and no BOS token, 1 whose prompt fills max_length, 2 whose completions are identical"
    ) in caplog.text
    late = write(tmp_path / "late.jsonl", [*rows(100), {"prompt": "a", "chosen": 3, "rejected": "b"}])
    with pytest.raises(InputError, match=r"late\.jsonl, row 100 \(from 0\): field `chosen`"):
        record(Recorder(), stream(tmp_path, late), max_steps=30, max_epochs=-1)
    early = stream(tmp_path, write(tmp_path / "early.jsonl", [*rows(3), {"prompt": "a", "chosen": None}]))
    with pytest.raises(InputError, match=r"early\.jsonl, row 3 \(from 0\): field `chosen`: null"):
        early.prepare_data()


def test_an_iterable_dataset_streams_by_itself(tmp_path):
    given = IterableDataset.from_generator(lambda: iter(ROWS))
    source = stream(tmp_path, given, streaming=False)
    source.setup()
    assert sorted(flat(source.train_dataloader())) == [*range(23)]


def test_single_completions_of_a_stream(run, tmp_path):
    module = PreferenceModule(tiny_llama(), UnpairedBCO())
    fitted = run(data=stream(tmp_path, format=UnpairedFormat()), module=module, max_steps=5)
    assert len(fitted.losses) == 5


def test_nothing_left_to_train_on(tmp_path):
    empty = write(tmp_path / "empty.jsonl", [{"prompt": "a", "chosen": "", "rejected": "b"}] * 3)
    with pytest.raises(InputError, match="none of the first 3 rows can be trained on"):
        record(Recorder(), stream(tmp_path, empty), max_steps=3)


class Seen(Recorder):
    """Writes down its rows and weights."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.seen["train"].append([batch.row_ids.tolist(), batch.example_weight])
        return self.layer.weight.sum()


def on_two_ranks(rank: int, directory: Path, count: int) -> None:
    """A fit of two passes."""
    module = Seen()
    source = stream(directory, str(directory / "rows.jsonl"), num_workers=rank)
    record(module, source, devices=2, strategy="ddp", max_epochs=2, max_steps=100, accumulate_grad_batches=2)
    (directory / f"seen-{rank}.json").write_text(json.dumps(module.seen["train"]))


@pytest.mark.parametrize("count", [23, 33])
def test_two_ranks_share_the_rows_and_stop_together(tmp_path, count):
    write(tmp_path / "rows.jsonl", rows(count))
    assert in_processes(2, on_two_ranks, tmp_path, count, output=tmp_path) == [0, 0], (
        tmp_path / "output-0.txt"
    ).read_text()
    first, second = (json.loads((tmp_path / f"seen-{rank}.json").read_text()) for rank in range(2))
    assert len(first) == len(second)
    for half in (slice(0, len(first) // 2), slice(len(first) // 2, None)):
        own = [[row for batch, _ in seen[half] for row in batch] for seen in (first, second)]
        assert Counter(own[0] + own[1]) == Counter(range(count))
        assert all(row % 2 == rank for rank in range(2) for row in own[rank])
    # An optimizer step's mean: each of its examples weighs as much, on both ranks.
    steps = len(first) // 2
    windows = [range(start, min(start + 2, steps)) for start in range(0, steps, 2)]
    for window in windows:
        examples = sum(len(seen[at][0]) for seen in (first, second) for at in window)
        assert {seen[at][1] for seen in (first, second) for at in window} == {2 * 2 / examples}
