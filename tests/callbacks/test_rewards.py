"""Predicted rewards as a file."""

from __future__ import annotations

import json

import pytest
from datasets import Dataset
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from dpo_lightning import KTO, PlackettLuceDPO, PreferenceDataModule, RowFormat
from dpo_lightning.batch import collate_padded
from dpo_lightning.callbacks import WriteRewards
from dpo_lightning.errors import InputError
from tests.data.formats.test_unpaired import data as labelled_data
from tests.helpers.ranked import RankedRows
from tests.helpers.runs import data, module, rows, trainer
from tests.helpers.tiny import PAIRS, tiny_tokenizer


def test_every_pair_is_written_once(tmp_path):
    model, path = module(), tmp_path / "out" / "rewards.jsonl"
    batches = trainer(callbacks=[WriteRewards(str(path))]).predict(model, data(tmp_path))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["pair_id"] for row in rows] == list(range(8))
    assert [row["chosen"] for row in rows] == [value for batch in batches for value in batch["chosen"].tolist()]


def test_texts_are_written_beside_the_rewards(tmp_path):
    table = [{**row, "source": f"s{number}"} for number, row in enumerate(rows(8))]
    texts = PreferenceDataModule(
        Dataset.from_list(table),
        tiny_tokenizer(),
        format=RowFormat(texts=["source", "chosen"]),
        test_split="train",
        batch_pairs=3,
    )
    path = tmp_path / "rewards.jsonl"
    trainer(callbacks=[WriteRewards(str(path))]).predict(module(), texts)
    written = [json.loads(line) for line in path.read_text().splitlines()]

    assert [row["texts"] for row in written] == [
        {"source": f"s{number}", "chosen": row["chosen"]} for number, row in enumerate(table)
    ]
    assert all(isinstance(row["chosen"], float) for row in written)


def test_without_a_path_they_lie_in_the_directory_of_the_run(tmp_path, monkeypatch, caplog):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run = trainer(callbacks=[WriteRewards()], logger=CSVLogger(str(tmp_path / "here" / "a run")))
    run.predict(module(), data(tmp_path))
    place = "a run/lightning_logs/version_0/rewards.jsonl"
    assert len((tmp_path / "here" / place).read_text().splitlines()) == 8
    assert f"rewards of 8 pairs in '{place}'" in caplog.messages
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["a run"]
    trainer(callbacks=[WriteRewards()], default_root_dir=tmp_path / "root").predict(module(), data(tmp_path))
    assert (tmp_path / "root/rewards.jsonl").exists()


def texts_of(path, model, pairs):
    trainer(callbacks=[WriteRewards(str(path / "texts.jsonl"), texts=True)]).predict(model, pairs)
    return [json.loads(line)["texts"] for line in (path / "texts.jsonl").read_text().splitlines()]


def as_read(text: str, end: str = "") -> str:
    return tiny_tokenizer().decode(tiny_tokenizer()(text)["input_ids"]) + end


@pytest.mark.parametrize("layout", ["tree", "padded"])
def test_texts_of_pairs_are_those_of_the_rows(layout, tmp_path):
    found = texts_of(tmp_path, module(), data(tmp_path, layout=layout))
    assert found == [
        {
            "prompt": as_read(row["prompt"]),
            "chosen": as_read(row["chosen"], "</s>"),
            "rejected": as_read(row["rejected"], "</s>"),
        }
        for row in rows(8)
    ]


def test_texts_of_completions_are_one_each(tmp_path):
    lists = texts_of(tmp_path, module(objective=PlackettLuceDPO()), data(tmp_path, format=RankedRows()))
    written = [json.loads(line) for line in (tmp_path / "texts.jsonl").read_text().splitlines()]
    assert all(text.keys() == {"prompt", "completion", "asked"} for text in lists)  # that of the format stays
    first = [text["completion"] for text, row in zip(lists, written, strict=True) if row["pair_id"] == 0]
    assert len({*first}) == len(first) > 1
    labelled = texts_of(tmp_path, module(objective=KTO()), labelled_data(tmp_path, val_split="train[:4]"))
    assert all(text.keys() == {"prompt", "completion"} for text in labelled)


def test_texts_need_a_tokenizer():
    loader = DataLoader(PAIRS, collate_fn=collate_padded)
    with pytest.raises(InputError, match=r"^WriteRewards\.texts: .* leave texts out"):
        trainer(callbacks=[WriteRewards(texts=True)]).predict(module(), loader)
