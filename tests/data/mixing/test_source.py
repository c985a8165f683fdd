"""Sources as they are given, and what is refused of them."""

from __future__ import annotations

import pytest
from datasets import Dataset

from dpo_lightning import RowFormat, Source
from dpo_lightning.data.mixing.source import check_alone, checked_sources
from dpo_lightning.errors import InputError


def names(*given):
    return [source.name for source in checked_sources([Source(each) for each in given])]


def test_names_are_those_of_files_directories_and_data_sets():
    assert names("some/pairs.jsonl.gz", "owner/harmless", {"train": "b.parquet"}, "runs/lab/") == [
        "pairs",
        "harmless",
        "b",
        "lab",
    ]
    assert names(Dataset.from_list([{"a": 1}]), {"train": "x", "test": "y"}) == ["source0", "source1"]


def test_mappings_are_sources():
    made = checked_sources([{"dataset": "a.jsonl", "rows": 3, "format": RowFormat("question")}])
    assert made == (Source("a.jsonl", rows=3, format=RowFormat("question"), name="a"),)
    assert checked_sources(None) == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], r"data\.sources: give a list of sources, got \[\]"),
        (
            [{"dataset": "a", "chat_template_kwargs": {"messages": 1}}],
            r"^data\.sources\[0\]\.chat_template_kwargs.*messages",
        ),
        ("a.jsonl", "give a list of sources, got 'a.jsonl'"),
        (["a.jsonl"], r"data\.sources\[0\]: give Source\(\.\.\.\), or a mapping"),
        ([{"dataset": "a", "wieght": 1}], r"unknown key `data\.sources\[0\]\.wieght`; did you mean `weight`"),
        ([{"dataset": "a", "zzz": 1}], r"unknown key `data\.sources\[0\]\.zzz`; its keys are dataset, split"),
        ([Source("a", format=RowFormat)], r"data\.sources\[0\]\.format: RowFormat is a class: write RowFormat"),
        ([{"split": "train"}], r"data\.sources\[0\]\.dataset: give a hub name"),
        ([Source("a"), Source("b", weight=0)], r"data\.sources\[1\]\.weight must be a finite number greater than 0"),
        ([Source("a", weight=True)], r"data\.sources\[0\]\.weight must be a number or null, got True"),
        ([Source("a", rows=0)], r"data\.sources\[0\]\.rows must be at least 1"),
        ([Source("a", rows=1.5)], r"data\.sources\[0\]\.rows must be a whole number"),
        ([Source("a", rows=1, weight=1)], r"data\.sources\[0\]: give weight or rows, and not both"),
        ([Source("a", split=" ")], r"data\.sources\[0\]\.split must name a split"),
        ([Source("a/x.jsonl"), Source("b/x.jsonl")], "two are called 'x': give each a `name` of its own"),
        ([Source("a", name="x/y")], r"data\.sources\[0\]\.name: a set cannot be named 'x/y'"),
    ],
)
def test_what_is_no_source_is_refused_by_its_key(given, said):
    with pytest.raises(InputError, match=said):
        checked_sources(given)


def test_one_source_and_several_exclude_each_other():
    sources = checked_sources([Source("a")])
    check_alone(sources, dataset=None, train_split=None)
    check_alone((), dataset="a", train_split="train[:3]")
    with pytest.raises(InputError, match=r"data\.sources and data\.train_split: each source says its own"):
        check_alone(sources, dataset=None, train_split="train[:3]")
    with pytest.raises(InputError, match=r"data\.dataset: give a hub name, .*; or data\.sources"):
        check_alone((), dataset=None)
