"""Runs on several streams: counted by hand, stopped and resumed, shared by ranks."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from dpo_lightning import PreferenceDataModule, RowFormat, Source
from dpo_lightning.errors import InputError
from tests.data.common import rows, write
from tests.data.common import run as record
from tests.data.mixing.test_run import Off, Seen
from tests.helpers.resumable import in_processes
from tests.helpers.tiny import tiny_tokenizer

WEIGHTS = {"a": 3, "b": 1}
SIZES = {"a": 30, "b": 13}


def mixed(directory: Path, weights: dict[str, float] = WEIGHTS, **settings: Any) -> PreferenceDataModule:
    for name, size in SIZES.items():
        own = rows(size) if name == "a" else [{"q": each["prompt"], **each} for each in rows(size)]
        write(directory / f"{name}.jsonl", own)
    formats = {"a": None, "b": RowFormat(prompt="q", ignore=["prompt"])}
    sources = [
        Source(str(directory / f"{name}.jsonl"), weight=weight, format=formats[name])
        for name, weight in weights.items()
    ]
    small = {"batch_pairs": 4, "streaming": True, "shuffle_buffer": 7, "max_length": 60}
    return PreferenceDataModule(tokenizer=tiny_tokenizer(), sources=sources, **{**small, **settings})


def read(source: PreferenceDataModule, epoch: int = 0) -> list[tuple[str, int]]:
    source.setup()
    loader = source.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [pair for batch in loader for pair in zip(batch.texts["data_source"], batch.row_ids.tolist(), strict=True)]


@pytest.mark.parametrize("shuffle_buffer", [1, 7, 1000])
def test_a_pass_has_its_shares_and_every_row(tmp_path, shuffle_buffer, said):
    found = read(mixed(tmp_path, shuffle_buffer=shuffle_buffer))
    # 13 rows of b at a quarter: its last one is the 49th to the 52nd row, and a has begun again at its 31st.
    assert Counter(name for name, _ in found)["b"] == 13
    assert Counter(name for name, _ in found)["a"] in range(36, 40)
    assert {row for name, row in found if name == "a"} == {*range(30)}
    assert sorted(row for name, row in found if name == "b") == [*range(13)]
    assert any("source b: " in line and "13 examples kept" in line and "again" not in line for line in said)
    assert any("source a: " in line and "begun again 1 times before the others ended" in line for line in said)
    if shuffle_buffer == 1:
        assert [name for name, _ in found[:8]] == [*"aaabaaab"]


def test_workers_change_nothing_and_epochs_and_seeds_do(tmp_path):
    first = read(mixed(tmp_path))
    assert read(mixed(tmp_path, num_workers=1)) == read(mixed(tmp_path, num_workers=3)) == first
    assert sorted(read(mixed(tmp_path), epoch=1)) == sorted(first) != first
    assert read(mixed(tmp_path), epoch=1) != first != read(mixed(tmp_path, seed=1))


def test_a_resumed_run_goes_on_bit_for_bit(run, tmp_path):
    keep = ModelCheckpoint(tmp_path / "kept", "{step}", every_n_train_steps=5, save_top_k=-1)
    ends = {"max_steps": 8, "max_epochs": -1}
    whole = run(keep, data=mixed(tmp_path), module=Off(), enable_checkpointing=True, **ends)
    rest = run(data=mixed(tmp_path, num_workers=1), module=Off(), ckpt_path=tmp_path / "kept/step=5.ckpt", **ends)
    assert rest.losses == whole.losses[5:]
    for weights, said in {
        (("a", 3), ("b", 2)): "'b' has the weight 2, and had 1",
        (("b", 1), ("a", 3)): "they stand in another order",
    }.items():
        with pytest.raises(InputError, match=f"written with other sources: {said}"):
            run(data=mixed(tmp_path, dict(weights)), module=Off(), ckpt_path=tmp_path / "kept/step=5.ckpt", **ends)


def test_late_faults_name_source_and_row(tmp_path):
    source = mixed(tmp_path)
    write(tmp_path / "b.jsonl", [*({"q": each["prompt"], **each} for each in rows(250)), {"q": "a", "chosen": 3}])
    with pytest.raises(InputError, match=r"^data\.sources\[1\]\.dataset: source b: .*b\.jsonl, row 250 \(from 0\): "):
        read(source)


def test_each_source_has_its_own_validation_rows(run, tmp_path):
    files = {name: write(tmp_path / f"{name}.jsonl", rows(size)) for name, size in {"train": 9, "test": 5}.items()}
    sources = [Source(files, weight=1, name=name) for name in "xy"]
    source = PreferenceDataModule(
        tokenizer=tiny_tokenizer(), sources=sources, val_split="test", batch_pairs=4, streaming=True
    )
    metrics = run(data=source, module=Off(), max_steps=9, max_epochs=1).metrics
    assert source.examples("val/y")[2].place == "2 of y"
    assert metrics["val/x/loss"] == metrics["val/y/loss"] == pytest.approx(metrics["val/loss"], rel=1e-6)


def on_two_ranks(rank: int, directory: Path) -> None:
    module = Seen()
    record(module, mixed(directory), devices=2, strategy="ddp", max_epochs=1, max_steps=100)
    (directory / f"seen-{rank}.json").write_text(json.dumps(module.seen["train"]))


def test_two_ranks_have_other_rows_of_each_source(tmp_path):
    mixed(tmp_path)
    assert in_processes(2, on_two_ranks, tmp_path, output=tmp_path) == [0, 0], (tmp_path / "output-0.txt").read_text()
    seen = [json.loads((tmp_path / f"seen-{rank}.json").read_text()) for rank in range(2)]
    assert len(seen[0]) == len(seen[1])
    for rank, batches in enumerate(seen):
        found = [(name, row) for batch in batches for name, row in batch]
        assert all(row % 2 == rank for _, row in found)
        assert {name for name, _ in found} == {"a", "b"}
        assert abs(Counter(name for name, _ in found)["b"] - len(found) / 4) <= 1
