"""Settings of plain text: the same in formats of all kinds of rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dpo_lightning.data.formats import (
    AlpacaFormat,
    ArenaFormat,
    AutoFormat,
    RowFormat,
    ScoredListFormat,
    ScoredPairsFormat,
    ShareGPTFormat,
    SwiftFormat,
    UnpairedFormat,
)
from dpo_lightning.errors import InputError
from tests.data.formats.common import assistant, user

TEXT, GOOD, BAD = "Q: hi\nA:", " good", " bad"
FORMATS = {
    "pairs": (RowFormat(), {"chosen": GOOD, "rejected": BAD}),
    "answers": (ShareGPTFormat("prompt"), {"chosen": GOOD, "rejected": BAD}),
    "comparison": (ArenaFormat(), {"response_a": BAD, "response_b": GOOD, "winner": "B"}),
    "scores": (ScoredPairsFormat(score="scores"), {"completions": [BAD, GOOD], "scores": [1, 2]}),
    "list": (ScoredListFormat(score="scores"), {"completions": [BAD, GOOD], "scores": [1, 2]}),
    "labels of pairs": (UnpairedFormat(), {"chosen": GOOD, "rejected": BAD}),
}


def repeating(row):
    """The row with its prompt at the head of the completions."""
    lists = {name: [TEXT + each for each in value] for name, value in row.items() if name == "completions"}
    texts = {name: TEXT + value for name, value in row.items() if value in (GOOD, BAD)}
    return {"prompt": TEXT, **row, **texts, **lists}


@pytest.mark.parametrize("name", FORMATS)
def test_a_prompt_at_the_head_of_the_completions_is_taken_off(name):
    bare, row = FORMATS[name]
    found = bare.found_in([repeating(row)] * 3)

    (example,) = found.examples(repeating(row))
    assert (example.prompt, example.completions) == (TEXT, [GOOD, BAD])
    assert bare.found_in([{"prompt": TEXT, **row}]) == bare


def test_white_space_at_its_ends_does_not_count():
    row = {"prompt": "\nQ: hi \n", "chosen": "Q: hi\n good", "rejected": " Q: hi bad"}

    (example,) = RowFormat().found_in([row]).examples(row)
    assert example.completions == ["good", "bad"]


def test_blank_completions_say_nothing_of_it():
    rows = [repeating(FORMATS["pairs"][1]), {"prompt": TEXT, "chosen": TEXT + GOOD, "rejected": ""}]

    found = RowFormat().found_in(rows)
    assert found.examples(rows[1])[0].completions == [GOOD, ""]


@pytest.mark.parametrize("name", FORMATS)
def test_most_rows_that_do_are_refused_and_told_how_to_go_on(name):
    bare, row = FORMATS[name]
    rows = [*[repeating(row)] * 3, {"prompt": TEXT, **row}]

    with pytest.raises(InputError, match=r"^the completions of 3 of the first 4 rows .*data\.format\.repeats_prompt"):
        bare.found_in(rows)
    kept = replace(bare, repeats_prompt=False)
    assert kept.found_in(rows).examples(rows[0])[0].completions[0] == TEXT + GOOD
    with pytest.raises(InputError, match="does not begin with the prompt"):
        replace(bare, repeats_prompt=True).examples(rows[3])


@pytest.mark.parametrize("name", FORMATS)
def test_templates_stand_around_prompt_and_completions(name):
    bare, row = FORMATS[name]
    framed = replace(bare, prompt_template="{topic}|{prompt}|", completion_template="<{completion}>")

    (example,) = framed.examples({"topic": "greet", "prompt": TEXT, **row})
    assert (example.prompt, example.completions) == (f"greet|{TEXT}|", [f"<{GOOD}>", f"<{BAD}>"])


@pytest.mark.parametrize("name", FORMATS)
def test_control_tokens_of_the_data_are_those_of_the_tokenizer_on_request(name):
    bare, row = FORMATS[name]

    def quote(text):
        return text.upper()

    assert bare.examples({"prompt": TEXT, **row}, quote)[0].completions[0] == GOOD.upper()
    assert replace(bare, control_tokens=True).examples({"prompt": TEXT, **row}, quote)[0].completions[0] == GOOD


def test_a_probability_is_named_in_all_formats_of_pairs():
    row = {"prompt": TEXT, **FORMATS["comparison"][1], "p": 0.9}

    assert ArenaFormat(probability="p").examples(row)[0].columns == {"probability": 0.9}
    with pytest.raises(InputError, match=r"^ScoredListFormat\.probability: "):
        ScoredListFormat(score="scores", probability="p")


def test_a_column_called_prompt_is_none_of_a_dialogue_that_has_its_own():
    row = {"prompt": "other", "messages": [user("q"), assistant("a")], "rejected_response": "b"}
    assert SwiftFormat().examples(row)[0].prompt == [user("q")]


def test_labelled_completions_have_an_input_as_pairs_do():
    row = {"instruction": "Add.", "input": "1 + 1", "completion": "2", "label": True}

    unpaired = UnpairedFormat("instruction", input="input")
    pairs = AlpacaFormat(as_messages=False).examples({**row, "chosen": "2", "rejected": "3"})
    assert unpaired.examples(row)[0].prompt == pairs[0].prompt == "Add.\n1 + 1"
    assert unpaired.examples({**row, "input": ""})[0].prompt == "Add."


@pytest.mark.parametrize(
    "bare",
    [RowFormat(), UnpairedFormat(), AutoFormat(), ShareGPTFormat("prompt")],
    ids=lambda bare: type(bare).__name__,
)
def test_a_repeated_prompt_is_one_of_text(bare):
    row = {"prompt": [user("q")], "chosen": [assistant("a")], "rejected": [assistant("b")]}

    for said in (True, False):
        with pytest.raises(InputError, match=r"^format\.repeats_prompt is for rows of text: the rows are messages"):
            replace(bare, repeats_prompt=said).found_in([row])
        given = replace(RowFormat(), repeats_prompt=said)
        assert given.found_in([row, {"prompt": "q", "chosen": "a", "rejected": "b"}]) == given


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"prompt_template": Path("p")},
            r"RowFormat\.prompt_template must contain \{prompt\} once, got PosixPath\('p'\)",
        ),
        ({"texts": "a\nb"}, r"RowFormat\.texts: name a list of columns, got 'a\\nb': write \[a b\]"),
    ],
)
def test_what_frames_a_text_is_refused_in_one_line(settings, line):
    with pytest.raises(InputError, match=rf"^{line}$"):
        RowFormat(**settings)
