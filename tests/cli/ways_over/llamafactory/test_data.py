"""Entries of dataset_info.json as sources and formats: what LLaMA-Factory's converters make of a row."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.data import formats
from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import config, llama_factory, told

SIDES = {"chosen": "chosen", "rejected": "rejected"}
ALPACA = {"hf_hub_url": "a/b", "ranking": True, "columns": {"prompt": "question", **SIDES, "system": "system"}}
SHAREGPT = {
    "file_name": "s.json",
    "ranking": True,
    "formatting": "sharegpt",
    "columns": {"messages": "talk", **SIDES},
    "tags": {"user_tag": "customer", "assistant_tag": "gpt"},
}
LABELLED = {"file_name": "k.json", "formatting": "sharegpt", "columns": {"messages": "messages", "kto_tag": "good"}}
TEXTS = {"file_name": "t.json", "columns": {"prompt": "q", "response": "a", "kto_tag": "good"}}


def data(entries: dict[str, Any], **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = config(llama_factory(dataset=",".join(entries), dataset_dir=entries, **changes))["data"]
    return found


def read(entry: dict[str, Any], row: dict[str, Any], **changes: Any) -> Any:
    made = data({"x": entry}, **changes)["format"]
    (example,) = getattr(formats, made["class_path"])(**made.get("init_args", {})).examples(row)
    return example


def test_alpaca_rows() -> None:
    example = read(ALPACA, {"question": "1+1?", "input": "not read", "chosen": "2", "rejected": "3", "system": "S"})
    assert example.prompt == "1+1?"
    assert data({"x": ALPACA})["format"]["init_args"]["system"] == "system"


def test_rows_with_its_own_names_of_columns() -> None:
    entry = {"file_name": "a.json", "ranking": True, "columns": {"prompt": "instruction", "query": "input", **SIDES}}
    example = read(entry, {"instruction": "Add.", "input": "1 and 1", "chosen": "2", "rejected": "3"})
    assert example.prompt == "Add.\n1 and 1"


def test_sharegpt_rows_with_other_roles() -> None:
    row = {
        "talk": [{"from": "customer", "value": "1+1?"}],
        "chosen": {"from": "gpt", "value": "2"},
        "rejected": {"from": "gpt", "value": "3"},
    }
    example = read(SHAREGPT, row)
    assert example.prompt == [{"role": "user", "content": "1+1?"}]
    assert [side[0]["content"] for side in example.completions] == ["2", "3"]


@pytest.mark.parametrize(
    ("entry", "row"),
    [
        (
            LABELLED,
            {"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}], "good": False},
        ),
        (TEXTS, {"q": "1+1?", "a": "2", "good": False}),
    ],
)
def test_labelled_rows(entry: dict[str, Any], row: dict[str, Any]) -> None:
    assert list(read(entry, row, stage="kto").labels) == [False]


def test_places_and_parts() -> None:
    found = data({"x": {**ALPACA, "subset": "en", "folder": "v2", "split": "test"}}, max_samples=100)
    assert (found["dataset"], found["train_split"]) == ("a/b", "test[:100]")
    assert found["load_options"] == {"name": "en", "data_dir": "v2"}


def test_several_sets_with_shares() -> None:
    found = data({"a": ALPACA, "b": SHAREGPT}, mix_strategy="interleave_under", interleave_probs="0.7,0.3")
    assert [source["weight"] for source in found["sources"]] == [0.7, 0.3]
    assert data({"x": {**ALPACA, "num_samples": 50}})["sources"][0]["rows"] == 50


@pytest.mark.parametrize(
    ("changes", "train", "held_out"),
    [({"val_size": 0.1}, None, 0.1), ({"val_size": 20, "max_samples": 100}, "train[20:100]", "train[:20]")],
)
def test_what_is_held_out(changes: dict[str, Any], train: str | None, held_out: Any) -> None:
    found = data({"x": ALPACA}, **changes)
    assert (found.get("train_split"), found["val_split"]) == (train, held_out)


def test_a_set_to_validate_on() -> None:
    entries = {"a": SHAREGPT, "b": {**SHAREGPT, "file_name": "v.json"}}
    found = config(llama_factory(dataset="a", eval_dataset="b", dataset_dir=entries))["data"]
    assert found["val_split"] == "v.json"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({**ALPACA, "ranking": False}, "no `ranking: true`"),
        ({**ALPACA, "columns": {"prompt": "question", "chosen": "chosen"}}, "no column for rejected"),
        ({**ALPACA, "columns": {**SIDES, "images": "images"}}, "has images"),
        ({**ALPACA, "columns": {**SIDES, "history": "history"}}, "column history"),
        ({"ms_hub_url": "a/b", "ranking": True, "columns": SIDES}, "on no hub of Hugging Face"),
        ({**SHAREGPT, "tags": {"role_tag": "speaker"}}, "role_tag speaker is none of"),
    ],
)
def test_what_has_no_equal_is_refused(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        data({"x": entry})


def test_templates() -> None:
    assert "<|im_start|>" in llama_factory(template="chatml").beside["chatml.jinja"]
    assert llama_factory(template="llama3").beside.keys() == {"llama3.jinja"}
    assert "strings of its own" in told(llama_factory(template="vicuna"))["template"]
    draft = llama_factory(enable_thinking=False)
    assert config(draft)["data"]["chat_template_kwargs"] == {"enable_thinking": False}
