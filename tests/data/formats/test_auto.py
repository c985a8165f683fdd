"""The default format, with settings and without."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning import DPO, KTO, AutoFormat, PreferenceDataModule, RowFormat, ShareGPTFormat, SHPFormat, SoftLabelDPO
from dpo_lightning.data.formats import LabelledPairs, UnpairedFormat
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares
from tests.cli.test_every_wrong_value import parser_of
from tests.data.formats.test_found import FOUND
from tests.helpers.runs import module, trainer
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.tokenizers import words

SHAREGPT = FOUND["ShareGPT"][0]
SHP = FOUND["SHP"][0]


@pytest.mark.parametrize(
    "settings", [{"prompt": "question"}, {"prompt_template": "Q: {prompt}"}, {"turn_marker": "A:"}]
)
def test_with_a_setting_it_is_pairs_in_columns(settings: dict[str, Any]) -> None:
    assert AutoFormat().looks
    assert not AutoFormat(**settings).looks
    assert AutoFormat(**settings).found_in([SHAREGPT]) == RowFormat(**settings)


def test_columns_of_numbers_go_along_with_what_is_found() -> None:
    given = AutoFormat(margin=["score_A", "score_B"], texts=["history"])

    assert given.found_in([SHP]) == SHPFormat(margin=["score_A", "score_B"], texts=["history"])
    assert AutoFormat(margin="m").found_in([{"prompt": "q", "chosen": "a", "rejected": "b"}]) == RowFormat(margin="m")
    with pytest.raises(InputError, match=r"^data\.format\.margin: UnpairedFormat, which reads these rows, has none$"):
        AutoFormat(margin="m").found_in([{"prompt": "q", "completion": "a", "label": 1}])


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"margin": ["a", "b"]}, AutoFormat(margin=["a", "b"])),
        ({"prompt": "question"}, AutoFormat(prompt="question")),
        ({"class_path": "ShareGPTFormat"}, ShareGPTFormat()),
        ("SHPFormat", SHPFormat()),
        (
            {"class_path": "LabelledPairs", "init_args": {"pairs": {"class_path": "ShareGPTFormat"}}},
            LabelledPairs(ShareGPTFormat()),
        ),
    ],
)
def test_a_config_names_settings_or_a_class(given: Any, wanted: Any) -> None:
    parser = parser_of("data", frozenset({"dataset", "format"}))
    parsed = parser.parse_object(
        {"data": {"class_path": "dpo_lightning.PreferenceDataModule", "init_args": {"dataset": "x", "format": given}}}
    )
    assert parser.instantiate_classes(parsed)["data"].format == wanted


def fit(objective: Any, rows: list[dict[str, Any]], **settings: Any) -> PreferenceDataModule:
    from datasets import Dataset

    data = PreferenceDataModule(Dataset.from_list(rows), tiny_tokenizer(), **settings)
    trainer(max_steps=1).fit(module(objective=objective), data)
    return data


def test_an_objective_gets_the_examples_that_it_reads() -> None:
    assert len(fit(DPO(), [SHP] * 2).splits["train"]) == 2
    assert fit(KTO(), [SHP, {**SHP, "history": "Three?"}]).splits["train"]["labels"][:] == [[True, False]] * 2
    with pytest.raises(InputError, match=r"^data\.dataset: objective DPO reads pairs, and data\.format Unpaired"):
        fit(DPO(), [{"prompt": "q", "completion": "a", "label": True}])


def test_a_column_that_is_read_is_asked_for_before_rows_are() -> None:
    with pytest.raises(InputError, match=r"^the objective reads the probability of each row: name its column"):
        trainer(max_steps=1).fit(module(objective=SoftLabelDPO()), PreferenceDataModule("nowhere.jsonl", words()))


def test_unpaired_columns_of_trl_have_their_own_format() -> None:
    assert AutoFormat().found_in([{"prompt": "q", "completion": "a", "label": "yes"}]) == UnpairedFormat()


def test_settings_of_text_go_along() -> None:
    row = {"history": "q", "human_ref_A": "q a", "human_ref_B": "q b", "labels": 1}

    assert AutoFormat(repeats_prompt=False).found_in([row] * 3) == SHPFormat(repeats_prompt=False)
    halves = AutoFormat(control_tokens=True).found_in([row], Compares.LABELLED)
    orca = {"system": "", "question": "<|im_start|>", "chosen": "a", "rejected": "b"}
    assert AutoFormat(control_tokens=True).found_in([orca]).as_messages is None
    assert halves == LabelledPairs(SHPFormat(control_tokens=True, repeats_prompt=True))


def test_a_system_text_is_that_of_whatever_is_found() -> None:
    pair = {"prompt": "q", "chosen": "a", "rejected": "b", "system": None}

    found = AutoFormat().found_in([pair, {**pair, "system": "s"}])
    assert (found.system, found.as_messages) == ("system", True)
    assert AutoFormat().found_in([pair]) == AutoFormat().found_in([{**pair, "system": " "}]) == RowFormat()
    plain = AutoFormat(as_messages=False).found_in([{**pair, "system": "s"}])
    assert plain == RowFormat(as_messages=False)


@pytest.mark.parametrize("settings", [{}, {"as_messages": False}, {"control_tokens": True}])
@pytest.mark.parametrize("system", ["s", " "])
def test_labelled_halves_are_read_as_the_pairs_are(settings: dict[str, Any], system: str) -> None:
    sides = {"response_a": "a", "response_b": "b", "winner": "a"}
    row = {"instruction": "q", "input": "i", **sides, "system": system}

    pairs = AutoFormat(**settings).found_in([row])
    halves = AutoFormat(**settings).found_in([row], Compares.LABELLED)
    assert halves == LabelledPairs(pairs)
    assert (halves.system, halves.as_messages) == (pairs.system, pairs.as_messages)
    assert halves.examples(row)[0].prompt == pairs.examples(row)[0].prompt == "q\ni"
