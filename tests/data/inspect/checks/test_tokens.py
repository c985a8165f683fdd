"""Planted faults in tokens."""

from __future__ import annotations

import pytest

from dpo_lightning.data.inspect import Severity
from tests.data.inspect.common import clean_rows, conversations, findings, survey
from tests.helpers.tokenizers import CHATML, OTHER_END, THINKING, chat, turn, words


def test_truncated_rows():
    rows = clean_rows(20)
    rows[6]["chosen"] += " and so on" * 100
    found = findings(survey(rows))["truncated"]
    assert (found.severity, found.rows) == (Severity.INFO, {"train": [6]})
    assert "are cut to 400 tokens" in found.said
    rows[9]["chosen"] += " and so on" * 100
    assert findings(survey(rows))["truncated"].severity is Severity.WARNING, "a tenth"


def test_the_same_only_after_truncation():
    rows = clean_rows(20)
    rows[6].update(chosen="and so on" * 100 + "!", rejected="and so on" * 100 + "?")
    found = findings(survey(rows))
    assert (found["identical after truncation"].severity, found["identical after truncation"].rows) == (
        Severity.WARNING,
        {"train": [6]},
    )
    assert "identical completions" not in found


def test_a_prompt_that_fills_everything():
    rows = clean_rows(20)
    rows[6]["prompt"] = "and so on" * 100
    found = findings(survey(rows))["no room for a completion"]
    assert (found.severity, found.rows) == (Severity.WARNING, {"train": [6]})


def test_an_empty_prompt():
    rows = clean_rows(20)
    rows[6]["prompt"] = ""
    found = findings(survey(rows))["empty prompt"]
    assert (found.severity, found.rows) == (Severity.WARNING, {"train": [6]})


def test_two_bos_tokens():
    found = findings(survey(conversations(), tokenizer=chat("<s><s>" + CHATML)))["double BOS"]
    assert (found.severity, len(found.rows["train"])) == (Severity.WARNING, 20)
    assert "double BOS" not in findings(survey(conversations(), tokenizer=chat("<s>" + CHATML)))


def test_an_answer_that_ends_with_another_token():
    found = findings(survey(conversations(), tokenizer=chat(OTHER_END)))["missing EOS"]
    assert (found.severity, len(found.rows["train"])) == (Severity.WARNING, 20)
    assert "missing EOS" not in findings(survey(conversations(), tokenizer=chat(CHATML)))


def test_a_completion_that_is_cut_has_no_eos_and_is_none():
    rows = clean_rows(20)
    rows[6]["chosen"] += " and so on" * 100
    assert "missing EOS" not in findings(survey(rows))


def test_boundaries_inside_a_token():
    prompt = "\n\nHuman: two and two?\n\nAssistant:"
    rows = [{"prompt": prompt, "chosen": f" four {n}", "rejected": f" five {n}"} for n in range(9)]
    rows[4] = {"prompt": "The quick brown fo", "chosen": "x jumps", "rejected": "g"}
    found = findings(survey(rows, tokenizer=words()))["merged boundary"]
    assert (found.severity, found.rows) == (Severity.INFO, {"train": [4]})
    assert found.said.startswith("in 1 of 9 rows (11.1 %)")
    most = findings(survey([rows[4]] * 6 + rows[:3], tokenizer=words()))["merged boundary"]
    assert most.severity is Severity.WARNING


@pytest.mark.parametrize(
    ("template", "remedy"),
    [
        (THINKING, "Set `data.chat_template_kwargs.enable_thinking: false`: answers then begin where prompts end."),
        (
            THINKING.replace("enable_thinking", "something"),
            "Look at the template: no argument of it is known to mend it.",
        ),
    ],
)
def test_an_answer_that_begins_otherwise_than_its_prompt_ends(template, remedy):
    rows = conversations()
    for row in (rows[2], rows[5]):  # these think, as the end of the prompt says
        for side in ("chosen", "rejected"):
            row[side][0]["content"] = "T:" + row[side][0]["content"]
    found = findings(survey(rows, tokenizer=chat(template)))["boundary of the template"]
    assert (found.severity, found.rows) == (
        Severity.WARNING,
        {"train": [number for number in range(20) if number not in (2, 5)]},
    )
    assert found.said.startswith("in 18 of 20 rows (90 %)")
    assert found.remedy == remedy
    assert "boundary of the template" not in findings(survey(rows, tokenizer=chat(CHATML)))


def test_tokens_that_are_in_no_log_prob():
    rows = conversations()
    rows[3]["chosen"] = [turn("assistant", "ab"), turn("user", "why?"), turn("assistant", "c")]
    assert "tokens that do not count" not in findings(survey(rows, tokenizer=chat(CHATML), scored="completion"))
    read = survey(rows, tokenizer=chat(CHATML))
    found = findings(read)["tokens that do not count"]
    assert (found.severity, found.rows) == (Severity.INFO, {"train": [3]})
    tokens = sum(len(ids) for each in read.train.kept for ids in each.completion_ids)
    of_the_user = 1 + len("why?") + 2 + 1  # <|user|>why?</s>\n<|assistant|>, a token for each letter
    assert found.said.startswith(f"{of_the_user} of {tokens:,} tokens of completions")


def test_a_completion_of_which_no_token_counts():
    rows = conversations()
    rows[3]["chosen"] = [turn("assistant", "and so on " * 50), turn("user", "why?"), turn("assistant", "c")]
    found = findings(survey(rows, tokenizer=chat(CHATML), scored="last_assistant"))["nothing counts"]
    assert (found.severity, found.rows) == (Severity.WARNING, {"train": [3]})
