"""The data: a set, a mixture, and the two spellings of the alignment handbook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dpo_lightning import PreferenceDataModule
from dpo_lightning.errors import InputError
from tests.helpers.runs import write_rows
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.ways_over import PLACE, at, of_trl, said

SETS = [{"path": "a", "split": "train", "fraction": 0.5}, {"path": "b", "name": "x", "fraction": 0.25}]
HANDBOOK = {
    "datasets": [
        {"id": "a", "config": "default", "split": "train_prefs", "columns": ["chosen"], "weight": 0.5},
        {"id": "a", "config": "default", "split": "test_prefs", "weight": 1.0},
    ],
    "test_split_size": 2000,
    "seed": 0,
}


def mixture(**fields: Any) -> Any:
    return at(of_trl(dataset_name=None, **fields), "data")


def test_a_set_of_the_script() -> None:
    found = at(of_trl(dataset_config="x", dataset_train_split="train_prefs", dataset_streaming=True), "data")
    assert (found["dataset"], found["load_options"], found["train_split"]) == ("d.jsonl", {"name": "x"}, "train_prefs")
    assert found["streaming"] is True
    assert "val_split" not in found
    draft = of_trl(eval_strategy="epoch", dataset_test_split="held", per_device_eval_batch_size=2)
    assert (at(draft, "data.val_split"), at(draft, "data.eval_batch_pairs")) == ("held", 2)
    assert said(of_trl(test_split_size=0.1), "test_split_size").startswith("no effect there")


def test_a_mixture_is_sources_with_weights() -> None:
    draft = of_trl(datasets=SETS, test_split_size=0.1, streaming=True)
    assert at(draft, "data.sources") == [
        {"dataset": "a", "split": "train", "weight": 0.5},
        {"dataset": "b", "split": "train", "weight": 0.25, "load_options": {"name": "x"}},
    ]
    assert at(draft, "data.val_split") == 0.1
    assert at(draft, "trainer.limit_val_batches") == 0  # held out there as well, and not looked at
    assert "in the same shares" in said(draft, "datasets")
    assert said(draft, "dataset_name") == "no effect there: datasets comes before it"


def test_files_are_named_by_themselves() -> None:
    found = mixture(datasets=[{"path": "json", "data_files": ["a.jsonl", "b.jsonl"], "columns": ["chosen"]}])
    assert (found["dataset"], found["train_split"]) == (["a.jsonl", "b.jsonl"], "train")
    found = mixture(datasets=[{"path": "me/data", "data_files": {"train": "x"}, "data_dir": "y"}])
    assert found["load_options"] == {"data_files": {"train": "x"}, "data_dir": "y"}


def test_the_mixture_of_the_handbook() -> None:
    draft = of_trl(dataset_name=None, dataset_mixture=HANDBOOK, eval_strategy="steps")
    assert at(draft, "data.dataset") == "a"
    assert at(draft, "data.train_split") == "train_prefs[:50%]+test_prefs[2000:]"
    assert at(draft, "data.val_split") == "test_prefs[:2000]"
    assert "the first ones" in said(draft, "dataset_mixture")


def test_the_splits_are_read_as_they_are_written(tmp_path: Path) -> None:
    for name, count in (("train_prefs", 20), ("test_prefs", 8)):
        write_rows(tmp_path / f"{name}.jsonl", count)
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("train_prefs", "test_prefs")}
    found = mixture(dataset_mixture={**HANDBOOK, "test_split_size": 3}, eval_strategy="steps")
    data = PreferenceDataModule(
        files, tiny_tokenizer(), train_split=found["train_split"], val_split=found["val_split"], batch_pairs=1
    )
    data.setup("fit")
    assert (len(data.train_dataloader()), len(data.val_dataloader())) == (10 + 5, 3)


def test_the_mixer_of_the_handbook() -> None:
    shares = {"dataset_mixer": {"a": 1.0, "b": 0.25}, "dataset_splits": ["train_prefs", "test_prefs"]}
    found = mixture(**shares, eval_strategy="steps")
    assert [(each["dataset"], each["split"]) for each in found["sources"]] == [
        ("a", "train_prefs"),
        ("b", "train_prefs[:25%]"),
    ]
    assert found["val_split"] == "test_prefs"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"dataset_name": None}, "dataset_name (a run needs data"),
        ({"datasets": [{"split": "train"}]}, "a set without a path"),
        ({"datasets": [{"path": "a", "rows": 3}]}, "not known in a set: rows"),
        ({"datasets": "a"}, "a list of sets"),
        ({"datasets": [{"path": "a", "fraction": "half"}]}, "fraction must be a number"),
        ({"datasets": SETS, "eval_strategy": "steps"}, "nothing is held out to validate on"),
        ({"datasets": SETS, "test_split_size": 500}, "a number of rows of several sets"),
        ({"dataset_mixture": {"datasets": [{"id": "a", "weight": 0.123}]}}, "whole hundredths"),
        ({"dataset_mixture": {"datasets": [{"id": "a", "weight": 0.5}], "test_split_size": 9}}, "or of a share"),
        ({"dataset_mixture": {"datasets": [], "shuffle": True}}, "not known in it: shuffle"),
        ({"dataset_mixer": ["a"]}, "names with shares"),
        ({"max_length": None}, "max_length (no limit"),
        ({"truncation_mode": "keep_end"}, "completions keep their start"),
        ({"train_sampling_strategy": "sequential"}, "rows are shuffled by data.seed"),
        ({"chat_template": "{% for m in messages %}"}, "write it to a file"),
    ],
)
def test_what_is_no_data_is_refused(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as raised:
        of_trl(**fields)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith((PLACE, "datasets"))


def test_rows() -> None:
    found = at(of_trl(max_length=512, max_prompt_length=128, dataset_num_proc=3, truncation_mode="keep_end"), "data")
    assert (found["max_length"], found["max_prompt_length"], found["num_proc"]) == (512, 128, 3)
    assert found["length_grouped"] is False
    assert at(of_trl(train_sampling_strategy="group_by_length"), "data.length_grouped") is True
    assert at(of_trl(chat_template="chatml.jinja"), "data.chat_template") == "chatml.jinja"
