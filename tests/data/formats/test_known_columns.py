"""The table of columns that say what they mean."""

from __future__ import annotations

from dpo_lightning.data.formats.known_columns import KNOWN


def test_names_are_in_lower_case_and_say_what_to_set():
    assert all(name == name.lower() for name in KNOWN)
    for meaning in KNOWN.values():
        assert meaning.words[0].islower()
        assert meaning.remedy[0].islower()
        assert not meaning.remedy.endswith(".")


def test_columns_of_data_that_is_complete_without_them_are_not_in_it():
    ultrafeedback = {"prompt", "prompt_id", "messages", "score_chosen", "score_rejected"}
    others = {"question", "source", "dataset", "chosen_model", "chosen-rating", "id", "num_turns", "metadata"}
    assert not KNOWN.keys() & (ultrafeedback | others)


def test_earlier_turns_and_further_judgements_are_in_it():
    assert {"context", "history", "chat_history", "choice"} <= KNOWN.keys()
