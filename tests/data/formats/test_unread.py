"""What a format leaves of a split: found, named, refused, ignored."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from dpo_lightning import Example, Format, InputError, RowFormat, UnpairedFormat
from dpo_lightning.data.formats import unread
from dpo_lightning.data.formats.known_columns import KNOWN
from dpo_lightning.data.formats.recorded import shown_path
from dpo_lightning.data.formats.unread import look_at, names_in
from dpo_lightning.losses import Compares
from tests.data.common import ready, rows


def with_columns(**columns: Any) -> Dataset:
    return Dataset.from_list([{**row, **columns} for row in rows(20)])


def lines(said: list[str]) -> list[str]:
    return [line for line in said if "not read" in line]


class Own(Format):
    """Says nothing of what it reads."""

    gives = Compares.PAIRS

    def examples(self, row, quote=str):
        turns = row["talk"]
        return [Example.pair(turns[0]["text"], turns[1]["text"] + "x", turns[1]["text"])]


@pytest.mark.parametrize("name", sorted(KNOWN))
@pytest.mark.parametrize("row_format", [RowFormat, UnpairedFormat, Own], ids=lambda each: each.__name__)
def test_a_column_that_says_what_it_means_is_refused_until_it_is_ignored(name: str, row_format: type[Format]) -> None:
    talk = {"talk": [{"text": "a"}, {"text": "b"}]} if row_format is Own else {}
    value = None if row_format is UnpairedFormat and name == "label" else "x"
    source = Dataset.from_list([{**row, **talk, name.upper() if name == "input" else name: value} for row in rows(6)])
    source = source if row_format is not Own else source.remove_columns(["prompt", "chosen", "rejected"])
    if value is None:
        assert len(ready(source, format=row_format()).splits["train"]) == 6
        return
    named = name.upper() if name == "input" else name
    with pytest.raises(InputError) as raised:
        ready(source, format=row_format())
    assert str(raised.value).startswith(
        f"data.dataset: the dataset in memory, split train: column `{named}` (6 of 6 rows) is "
    )
    assert str(raised.value).endswith(f", or leave it out by data.format.ignore: [{named}]")
    assert len(ready(source, format=row_format(ignore=[named])).splits["train"])


@pytest.mark.parametrize("nothing", [None, "", " ", "[]", []])
def test_a_column_without_values_is_not_spoken_of(nothing: Any, said: list[str]) -> None:
    ready(with_columns(system=nothing, tools=nothing, note=nothing))
    assert not lines(said)


def test_other_columns_are_named_once_with_their_rows(said: list[str]) -> None:
    source = [{**row, "id": number, "note": "x" if number > 14 else None} for number, row in enumerate(rows(20))]
    module = ready(Dataset.from_list(source))
    module.setup()
    assert lines(said) == [
        "the dataset in memory, split train: not read (in so many rows): RowFormat leaves `id` (20), `note` (5)"
    ]


def test_many_columns_are_cut(said: list[str]) -> None:
    ready(with_columns(**{f"c{number:02}": 1 for number in range(30)}))
    (line,) = lines(said)
    assert line.endswith("`c10` (20), `c11` (20) and 18 more")


def test_a_format_of_the_users_is_watched_down_to_its_fields(said: list[str]) -> None:
    turn = {"text": "a", "time": 3, "by": {"name": "n", "age": 2}}
    ready(Dataset.from_list([{"talk": [turn, {**turn, "time": None}], "topic": "t"}] * 4), format=Own())
    assert lines(said) == [
        "the dataset in memory, split train: not read (in so many rows): "
        "Own leaves `talk.by` (4), `talk.time` (4), `topic` (4)"
    ]


def test_values_far_behind_the_first_rows_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "_FIRST", 4)
    monkeypatch.setattr(unread, "_SPREAD", 2)
    source = [{**row, "system": None} for row in rows(200)]
    source[117]["system"] = "Be brief."
    with pytest.raises(InputError, match=r"column `system` \(1 of 200 rows\)"):
        ready(Dataset.from_list(source))


def test_columns_that_only_later_rows_have_are_read_there(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setattr(unread, "_FIRST", 4)
    monkeypatch.setattr(unread, "_SPREAD", 2)
    single = {"prompt": "q", "completion": "a", "label": True, "chosen": None, "rejected": None}
    pair = {"prompt": "q", "completion": None, "label": None, "chosen": "a", "rejected": "b"}
    ready(Dataset.from_list([single] * 50 + [pair] * 3 + [single] * 50), format=UnpairedFormat())
    assert not lines(said)


def test_parts_of_a_column_that_is_read_by_path(said: list[str]) -> None:
    row = {"input": {"question": "q", "tools": [{"name": "f"}], "strict": True}, "chosen": "a", "rejected": "b"}
    source = Dataset.from_list([row] * 3)
    with pytest.raises(InputError, match=r"column `input\.tools` \(3 of 3 rows\) is definitions of tools"):
        ready(source, format=RowFormat(prompt="input.question"))
    ready(source, format=RowFormat(prompt="input.question", ignore=["input.tools"]))
    assert lines(said)[-1].endswith("RowFormat leaves `input.strict` (3)")
    with pytest.raises(InputError, match=r"data\.format\.ignore: `input\.question` is read"):
        ready(source, format=RowFormat(prompt="input.question", ignore=["input.tools", "input.question"]))


def test_an_ignored_column_is_as_if_the_data_had_none() -> None:
    shared = "\n\nHuman: q\n\nAssistant:"
    row = {"prompt": None, "chosen": f"{shared} a", "rejected": f"{shared} b"}
    source = Dataset.from_list([row] * 3)
    with pytest.raises(InputError, match="field `prompt`: null"):
        ready(source)
    assert len(ready(source, format=RowFormat(ignore=["prompt"])).splits["train"]) == 3


def test_a_name_that_is_in_no_split_is_refused() -> None:
    source = DatasetDict(train=with_columns(note="x"), test=Dataset.from_list(rows(4)))
    assert ready(source, test_split="test", format=RowFormat(ignore=["note"])).splits["test"]
    with pytest.raises(InputError) as raised:
        ready(source, test_split="test", format=RowFormat(ignore=["notes"]))
    assert str(raised.value) == "data.format.ignore: there is no column `notes` in the data: is `note` meant?"
    with pytest.raises(InputError, match="leaves no column"):
        ready(source, format=RowFormat(ignore=["prompt", "chosen", "rejected", "note"]))


def test_rows_that_cannot_be_read_are_the_first_thing_to_say() -> None:
    source = Dataset.from_list([{**rows(1)[0], "chosen": None, "system": "s"}])
    assert look_at(source, RowFormat(), RowFormat().examples) is None
    with pytest.raises(InputError, match=r"row 0 \(from 0\): field `chosen`: null"):
        ready(source)


def test_names_are_columns_paths_and_keys() -> None:
    source = Dataset.from_list([{"a": {"b": [{"c": 1}]}, "d.e": None}])
    assert names_in(source) == {"a", "a.b", "a.b.c", "d.e", "b", "c"}


def test_nothing_is_left_of_a_row_that_is_read_whole() -> None:
    looked = look_at(with_columns(id=1), RowFormat(), lambda row: RowFormat().examples(dict(row)))
    assert looked is not None
    assert not looked.unread
    looked = look_at(with_columns(id=1), RowFormat(), RowFormat().examples)
    assert looked is not None
    assert [*map(shown_path, looked.unread)] == ["id"]


@pytest.mark.parametrize("given", ["note", 3, [3], {"a": "b"}])
@pytest.mark.parametrize("row_format", [RowFormat, UnpairedFormat, Own], ids=lambda each: each.__name__)
def test_ignore_is_a_list_of_names(row_format: type[Format], given: Any) -> None:
    with pytest.raises(InputError, match="ignore"):
        ready(format=row_format(ignore=given))
