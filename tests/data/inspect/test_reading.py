"""Rows are read one by one, and one that is not understood stops nothing."""

from __future__ import annotations

import pytest
from datasets import Dataset

from dpo_lightning import RowFormat, ScoredListFormat, ScoredPairsFormat, UnpairedFormat
from dpo_lightning.data import ExampleTokenizer
from dpo_lightning.data.inspect.reading import WordReader, read_split
from dpo_lightning.data.inspect.row_sources import TableRows
from dpo_lightning.data.inspect.said import Said
from dpo_lightning.data.tokenize import Outcome
from tests.data.inspect.common import clean_rows, conversations, split
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.tokenizers import CHATML, chat

TOKENIZER = tiny_tokenizer()


def test_every_row_is_kept_dropped_or_refused():
    rows = clean_rows(40)
    rows[3]["chosen"], rows[5]["rejected"], rows[7]["prompt"] = None, "", " x" * 300
    read = split(rows)
    assert read.rows == read.looked_at == 40
    assert [each.row for each in read.refused] == [3]
    assert "field `chosen`" in read.refused[0].reason
    assert len(read.examples) == 39
    dropped = {each.row: each.outcome for each in read.examples if not each.kept}
    assert dropped == {5: Outcome.EMPTY_COMPLETION, 7: Outcome.NO_ROOM}


def test_tokens_are_those_of_the_tokenizer_of_examples():
    rows = clean_rows(10)
    rows[2]["chosen"] = " go on" * 30
    encode, row_format = ExampleTokenizer(TOKENIZER, 120), RowFormat()
    for number, seen in enumerate(split(rows, max_length=120).examples):
        (example,) = row_format.examples(rows[number], encode.quote)
        expected = encode(example, number)
        assert seen.prompt_ids.tolist() == expected.example.prompt_ids
        assert [ids.tolist() for ids in seen.completion_ids] == expected.example.completion_ids
        assert (seen.outcome, seen.truncated) == (expected.outcome, expected.truncated)


def test_lengths_before_truncation_are_known():
    rows = clean_rows(2)
    rows[1]["chosen"] = " go on" * 50
    seen = split(rows, max_length=120).examples[1]
    assert seen.truncated
    assert seen.whole == (len(rows[1]["prompt"]), 301, len(rows[1]["rejected"]) + 1)
    assert len(seen.prompt_ids) + len(seen.completion_ids[0]) == 120


def test_a_chat_row_that_the_template_refuses_is_refused_alone():
    rows = conversations(3)
    template = "{% if 'sun' in messages[0].content|string %}{{ raise_exception('no sun') }}{% endif %}" + CHATML
    rows[1]["prompt"][0]["content"] = "the sun"
    rows[0]["prompt"][0]["content"] = rows[2]["prompt"][0]["content"] = "the moon"
    read = split(rows, chat(template))
    assert [each.row for each in read.refused] == [1]
    assert [each.row for each in read.examples] == [0, 2]
    contents = [rows[0][side][0]["content"] for side in ("chosen", "rejected")]
    assert read.examples[0].said.completions == Said.of("", contents).completions
    assert read.examples[0].templated


def test_texts_are_looked_at_without_the_marks_of_control_tokens():
    row = {"prompt": "say </s>", "chosen": " <s>", "rejected": " no"}
    seen = split([row]).examples[0]
    assert seen.said == Said.of("say </s>", [" <s>", " no"]), "whose marks are characters that cannot be seen"
    assert seen.spells_control


def test_no_text_of_a_row_is_kept():
    (seen,) = split(clean_rows(1)).examples
    assert [name for name, value in seen._asdict().items() if isinstance(value, str)] == ["split"]
    assert {type(value) for value in seen.said} == {int, bool, tuple}


def test_columns_that_are_read_are_told_from_others():
    rows = [{**row, "id": f"n{number % 3}", "note": "x" * 60, "none": None} for number, row in enumerate(clean_rows(9))]
    read = split(rows)
    assert read.columns.read == ["prompt", "chosen", "rejected"]
    assert read.columns.counts == {"id": 9, "note": 9}
    assert read.examples[4].values == {"id": "n1"}, "a short text that is read says something else"


def test_rows_without_a_preference_are_counted():
    rows = [
        {"prompt": "p", "completions": [" a", " b"], "scores": scores}
        for scores in ([1.0, 2.0], [1.0, 1.0], [3.0, 0.0])
    ]
    for row_format in (ScoredPairsFormat(score="scores"), ScoredListFormat(score="scores")):
        read = split(rows, row_format=row_format)
        assert read.undecided == [1]
        assert [each.row for each in read.examples] == [0, 2]
        best = [TOKENIZER.decode(each.completion_ids[0], skip_special_tokens=True) for each in read.examples]
        assert best == [" b", " a"], "the best one first"
        assert (read.rows_kept, read.rows_dropped) == (2, 1)


def test_a_pair_of_labels_is_one_example():
    read = split(clean_rows(3), row_format=UnpairedFormat())
    assert [tuple(each.labels) for each in read.examples] == [(True, False)] * 3


def test_a_row_of_several_examples_is_refused_as_a_whole():
    rows = [{"prompt": "p", "completions": [" a", " b", None], "scores": [1.0, 2.0, 3.0]}]
    read = split(rows, row_format=ScoredPairsFormat(score="scores", take="all_pairs"))
    assert ([each.row for each in read.refused], read.examples) == ([0], [])


class TestWords:
    def test_a_word_stands_for_a_token(self):
        reader = WordReader()
        row = {"prompt": "so  it is", "chosen": "it is\nso", "rejected": "no"}
        (seen,) = read_split(TableRows(Dataset.from_list([row])), RowFormat(), reader, "here").examples
        assert seen.whole == (3, 3, 1)
        assert reader.decode(seen.completion_ids[0].tolist()) == "it is so"
        assert seen.prompt_ids.tolist() == [0, 1, 2]
        assert seen.completion_ids[0].tolist() == [1, 2, 0]

    @pytest.mark.parametrize(
        ("chosen", "rejected", "outcome"),
        [
            ("a", "b", Outcome.KEPT),
            ("a", " ", Outcome.EMPTY_COMPLETION),
            ("a", "a", Outcome.IDENTICAL),
        ],
    )
    def test_what_says_nothing_is_dropped(self, chosen, rejected, outcome):
        rows = Dataset.from_list([{"prompt": "p", "chosen": chosen, "rejected": rejected}])
        assert read_split(TableRows(rows), RowFormat(), WordReader(), "here").examples[0].outcome == outcome

    def test_messages_are_read(self):
        reader = WordReader()
        (seen, *_) = read_split(TableRows(Dataset.from_list(conversations(2))), RowFormat(), reader, "here").examples
        assert reader.decode(seen.completion_ids[0].tolist()) == conversations(2)[0]["chosen"][0]["content"].strip()
