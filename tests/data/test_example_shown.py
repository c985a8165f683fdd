"""One example in a few lines."""

from __future__ import annotations

import pytest

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data.example_shown import example_shown
from tests.data.common import Recorder, data, run
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.tokenizers import words

TINY = tiny_tokenizer()


def ids(text: str) -> list[int]:
    return TINY(text)["input_ids"]


def test_a_pair_with_all_of_its_completions_scored():
    pair = TokenizedExample.pair(0, ids("a b\nc:"), [*ids("yes"), 2], [2])
    assert example_shown(TINY, pair).splitlines() == [
        "  prompt, 6 tokens:",
        r"    a b\nc:",
        "  chosen, 4 tokens:",
        "    [[yes</s>]]",
        "  rejected, 1 tokens:",
        "    [[</s>]]",
    ]


def test_what_is_scored_is_marked():
    one = TokenizedExample.labelled(0, ids("q"), ids("abcdef"), False)
    shown = example_shown(TINY, one._replace(scored=[[False, True, True, False, False, True]]))
    assert shown.splitlines()[2:] == ["  completion, undesirable, 6 tokens:", "    a[[bc]]de[[f]]"]
    three = TokenizedExample(0, ids("q"), [ids("a"), ids("b"), ids("c")])
    assert [line for line in example_shown(TINY, three).splitlines() if "completion" in line] == [
        f"  completion {number}, 1 tokens:" for number in (1, 2, 3)
    ]


@pytest.mark.parametrize("text", ["x" * 5000, "\u6f22" * 3000, "a\n" * 900, "\x1b[2J\u202e\t" * 500])
def test_long_and_wild_text_is_cut_to_a_few_lines_of_eighty_columns(text: str):
    tokenizer = words()
    pair = TokenizedExample.pair(0, tokenizer(text)["input_ids"], tokenizer(text)["input_ids"], [2])
    lines = example_shown(tokenizer, pair).splitlines()
    assert len(lines) <= 3 + 3 * 4
    for line in lines:
        assert sum(2 if ord(each) > 0x2FFF else 1 for each in line) <= 80
        assert line.isprintable()
    assert sum(" ... " in line for line in lines) == 2


def test_a_run_shows_it_once_before_it_starts(said: list[str]):
    run(Recorder(), data(), max_epochs=2)
    (shown,) = [line for line in said if "[[" in line]
    assert shown.splitlines()[0].startswith("the first example of the training split, row 0; what is scored stands")
    assert shown.splitlines()[-1] == "    [[ no</s>]]"


def test_no_run_no_example(said: list[str]):
    data().setup()
    assert not [line for line in said if "[[" in line]
