"""Texts compared by their letters alone."""

from __future__ import annotations

from dpo_lightning.data.cleaning.words import squeezed, words_key


def test_white_space_and_capital_letters_do_not_count():
    assert squeezed(" So\tit\u00a0IS\n") == squeezed("so it is") == "soitis"
    assert squeezed("so it is!") != squeezed("so it is")


def test_a_key_is_of_prompt_completions_and_labels():
    key = words_key("So?", ["it is", "no"])
    assert words_key(" so ?", ["It Is", "NO"]) == key
    others = words_key("So?", ["no", "it is"]), words_key("So?", ["it", "isno"]), words_key("So?it", ["is", "no"])
    labelled = [words_key("So?", ["it is", "no"], labels) for labels in ([True, False], [False, True])]
    assert len({key, *others, *labelled}) == 6
