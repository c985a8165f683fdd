"""`data.clean`: what is left out before batching, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from dpo_lightning import InputError, PreferenceDataModule, Source, UnpairedFormat
from dpo_lightning.data.cleaning import Clean
from tests.data.common import data, ready, write
from tests.helpers.tiny import tiny_tokenizer

LONG = "abcdefghij klm nop qrs tuv wxyz abc"
ROWS = [
    {"prompt": "who?", "chosen": "me", "rejected": "you"},  # 0
    {"prompt": "who?", "chosen": "you", "rejected": "me"},  # 1 contradicts 0
    {"prompt": "why?", "chosen": "so", "rejected": "no"},  # 2
    {"prompt": "why?", "chosen": "so", "rejected": "no"},  # 3 repeats 2
    {"prompt": "how?", "chosen": "Thus", "rejected": " thus "},  # 4 same words
    {"prompt": "near?", "chosen": LONG, "rejected": "no"},  # 5
    {"prompt": "near?", "chosen": f"{LONG}.", "rejected": "no"},  # 6 near 5
    {"prompt": "held?", "chosen": "out", "rejected": "in"},  # 7 shares a completion with the held-out row
    {"prompt": "plain?", "chosen": "yes", "rejected": "no"},  # 8
]
HELD_OUT = [{"prompt": "held?", "chosen": "other", "rejected": "out"}]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    return {"train": write(tmp_path / "train.jsonl", ROWS), "test": write(tmp_path / "test.jsonl", HELD_OUT)}


def left(files: dict[str, str], clean: Clean) -> list[int]:
    return ready(files, val_split="test", clean=clean).splits["train"]["row"][:]


@pytest.mark.parametrize(
    ("clean", "missing"),
    [
        (Clean(), []),
        (Clean(identical=True), [4]),
        (Clean(contradictory=True), [0, 1]),
        (Clean(duplicates="exact"), [3]),
        (Clean(duplicates="near"), [3, 6]),
        (Clean(contaminated=True), [7]),
        (Clean(True, True, "near", True), [0, 1, 3, 4, 6, 7]),
    ],
    ids=["nothing", "identical", "contradictory", "exact", "near", "contaminated", "all"],
)
def test_what_is_asked_for_is_left_out(files, clean, missing):
    assert left(files, clean) == [row for row in range(len(ROWS)) if row not in missing]


def test_what_is_left_out_is_counted_with_its_rows(files, said):
    left(files, Clean(contradictory=True, duplicates="exact"))
    (line,) = [line for line in said if "data.clean" in line]
    assert "left out 2 that another one contradicts (rows 0, 1, from 0); 1 duplicates (rows 3, from 0)" in line
    assert line.endswith("6 of 9 are left")


def test_nothing_is_said_where_nothing_is_asked_for(files, said):
    left(files, Clean())
    assert not any("data.clean" in line for line in said)


def test_held_out_rows_stay(files):
    module = ready({**files, "test": files["train"]}, val_split="test", clean=Clean(duplicates="exact"))
    assert len(module.splits["val"]) == len(ROWS)
    assert len(module.splits["train"]) == len(ROWS) - 1


def test_near_duplicates_of_held_out_rows_are_contaminated_where_near_is_asked_for(tmp_path):
    files = {"train": write(tmp_path / "a.jsonl", [ROWS[5], ROWS[8]]), "test": write(tmp_path / "b.jsonl", [ROWS[6]])}
    other = {**ROWS[6], "rejected": "nope"}
    files["test"] = write(tmp_path / "b.jsonl", [other])
    assert left(files, Clean(contaminated=True)) == [0, 1]
    assert left(files, Clean(contaminated=True, duplicates="near")) == [1]


def test_other_white_space_is_near(tmp_path):
    spaced = {"prompt": " why? ", "chosen": " so", "rejected": "n o"}
    file = write(tmp_path / "a.jsonl", [ROWS[2], ROWS[8], spaced])
    assert ready(file, clean=Clean(duplicates="exact")).splits["train"]["row"][:] == [0, 1, 2]
    assert ready(file, clean=Clean(duplicates="near")).splits["train"]["row"][:] == [0, 1]


def test_labels_that_contradict(tmp_path):
    rows = [{"prompt": "a", "completion": "b", "label": label} for label in (True, False)]
    rows += [{"prompt": "a", "completion": "c", "label": True}]
    rows += [{"prompt": "d", "completion": "c", "label": False}]
    module = PreferenceDataModule(
        Dataset.from_list(rows), tiny_tokenizer(), format=UnpairedFormat(), clean=Clean(contradictory=True)
    )
    module.setup()
    assert module.splits["train"]["row"][:] == [2, 3]


def test_other_rows_are_cleaned_too(files, tmp_path):
    module = ready(files, val_split="test", clean=Clean(duplicates="exact"))
    module.replace_dataset({"train": write(tmp_path / "more.jsonl", [ROWS[8]] * 3)})
    assert module.splits["train"]["row"][:] == [0]


def test_the_content_hash_is_that_of_what_is_left(files, tmp_path):
    kept = write(tmp_path / "kept.jsonl", [row for number, row in enumerate(ROWS) if number != 3])
    cleaned = ready(files, clean=Clean(duplicates="exact"))
    assert cleaned.splits.content == ready(kept).splits.content != ready(files).splits.content


def test_nothing_left_is_refused():
    with pytest.raises(InputError, match=r"data\.clean left out 2 that another one contradicts.*; 0 of 2 are left"):
        ready(Dataset.from_list(ROWS[:2]), clean=Clean(contradictory=True))


def mixed(*tables: list[dict[str, str]], **settings: Any) -> PreferenceDataModule:
    sources = [Source(Dataset.from_list(table), weight=1, name=name) for name, table in zip("ab", tables, strict=True)]
    module = PreferenceDataModule(tokenizer=tiny_tokenizer(), sources=sources, **settings)
    module.setup()
    return module


def test_sources_are_cleaned_together(tmp_path, said):
    clean = Clean(contradictory=True, duplicates="exact", contaminated=True)
    first, second = ROWS[1:4], [ROWS[8], ROWS[7], ROWS[0], ROWS[2], ROWS[5]]
    module = mixed(first, second, clean=clean, val_split=write(tmp_path / "held.jsonl", HELD_OUT))
    found = [(each.columns["data_source"], each.row) for each in module.examples("train")]
    assert found == [("a", 1), ("b", 0), ("b", 4)]
    assert [(part.name, part.start, part.size, part.taken) for part in module.splits.parts] == [
        ("a", 0, 1, 2),
        ("b", 1, 2, 1),
    ]
    (line,) = [line for line in said if "data.clean" in line]
    assert "2 that another one contradicts (1 of a: rows 0; 1 of b: rows 2; from 0)" in line
    assert "2 duplicates (1 of a: rows 2; 1 of b: rows 3; from 0); 1 that are held out too (1 of b: rows 1; " in line
    assert line.endswith("3 of 8 are left: 1 of 3 of a, 2 of 5 of b")


def test_a_source_without_rows_left_is_named():
    with pytest.raises(InputError, match="4 of 6 are left: 4 of 4 of a, 0 of 2 of b"):
        mixed(ROWS[5:], [ROWS[5], ROWS[8]], clean=Clean(duplicates="exact"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"duplicates": "some"}, "data.clean.duplicates"), ({"identical": 1}, "data.clean.identical")],
)
def test_other_values_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Clean(**settings)


def test_what_is_no_clean_is_refused():
    with pytest.raises(InputError, match=r"data.clean"):
        data(clean="near")
