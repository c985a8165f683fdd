"""The rubric, and what is a verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.scorers.rubric import DEFAULT, FORM, question, rubric_of, verdict_in


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("B is right.\n[[B]]", "B"),
        ("[[A]]", "A"),
        ("Both say it.\n\n**[[C]]**\n\n", "C"),
        ("<think>[[A]] or so</think>\nNo.\n[[B]].", "B"),
        ("[[A]]\nIt is better.", None),
        ("Verdict: [[A]]", None),
        ("[[A]] [[B]]", None),
        ("A", None),
        ("[[D]]", None),
        ("[[a]]", None),
        ("Answer A is better.", None),
        ("", None),
    ],
)
def test_a_verdict_is_the_last_line_and_nothing_else(answer: str, verdict: str | None) -> None:
    assert verdict_in(answer) == verdict


def test_a_question_has_both_answers_the_rubric_and_the_whole_conversation() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "look"}]}
    messages = question("Be kind.\n", Candidates([{"role": "user", "content": "hi"}, call], []), "one", "two")
    assert messages[0] == {"role": "system", "content": "Be kind.\n"}
    asked = messages[1]["content"]
    assert asked.startswith("[Request]\nuser: hi\n\nassistant: {'tool_calls': [{'name': 'look'}]}\n\n[Answer A]\none\n")
    assert asked.endswith(f"[Answer B]\ntwo\n\n[End of the answers]\n\n{FORM}")
    with_tools = Candidates("text", [], beside={"tools": [{"name": "look"}]})
    asked = question(DEFAULT, with_tools, "one", "two")[1]["content"]
    assert asked.startswith('[Request]\ntext\n\n[Tools that an answer may call]\n[{"name": "look"}]\n\n[Answer A]\n')


def test_a_rubric_of_a_file(tmp_path: Path) -> None:
    assert rubric_of(None, "--rubric") == DEFAULT
    (tmp_path / "own.txt").write_text("Short is good.")
    assert rubric_of(tmp_path / "own.txt", "--rubric") == "Short is good.\n"
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(InputError, match=r"--rubric .*empty.txt: the file is empty"):
        rubric_of(tmp_path / "empty.txt", "--rubric")
    with pytest.raises(InputError, match=r"--rubric .*none.txt: .*No such file"):
        rubric_of(tmp_path / "none.txt", "--rubric")
