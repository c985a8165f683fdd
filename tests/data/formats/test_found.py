"""Rows of every format that people hold are found, and give the very tokens of the same pairs as TRL writes them."""

from __future__ import annotations

import pytest

from dpo_lightning import PreferenceDataModule
from dpo_lightning.data.formats import (
    AutoFormat,
    LabelledPairs,
    RowFormat,
    ScoredListFormat,
    SwiftFormat,
    UnpairedFormat,
)
from dpo_lightning.data.formats.as_messages import read_examples
from dpo_lightning.data.formats.found import find_format
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares
from tests.data.common import write
from tests.data.formats.common import Row, as_json, assistant, pair, said, system, tokens, turns, user
from tests.helpers.tokenizers import words

Q = "Two and two?"
CALL = {"name": "add", "arguments": {"a": 2}}
SHAREGPT = {
    "conversations": [said("human", Q)],
    "chosen": said("gpt", "four"),
    "rejected": said("gpt", "five"),
}
SWIFT = {"messages": [user(Q), assistant("four")], "rejected_response": "five"}
OPENAI = {
    "input": {"messages": [user(Q)], "tools": [], "parallel_tool_calls": True},
    "preferred_output": [assistant("four")],
    "non_preferred_output": [assistant("five")],
}
ULTRAFEEDBACK = {
    "source": "evol",
    "instruction": Q,
    "completions": [
        {"model": "a", "response": "five", "overall_score": 2.0},
        {"model": "b", "response": "four", "overall_score": 8.5},
        {"model": "c", "response": "six", "overall_score": 4.0},
    ],
}
COMPLETIONS = [{"rank": 1, "completion": [assistant("five")]}, {"rank": 0, "completion": [assistant("four")]}]
WHOLE = {"chosen": [said("human", Q), said("gpt", "four")], "rejected": [said("human", Q), said("gpt", "five")]}
FOUND: dict[str, tuple[Row, Row, str]] = {
    "text": (pair(), pair(), "pairs: prompt, chosen, rejected"),
    "messages": (turns(), turns(), "pairs: prompt, chosen, rejected"),
    "messages and texts": (pair([user(Q)]), turns(), "pairs: prompt, chosen, rejected"),
    "other names": (
        {"qid": 3, "question": Q, "response_j": "four", "response_k": "five"},
        pair(),
        "pairs: question, response_j, response_k",
    ),
    "ShareGPT": (SHAREGPT, turns(), "ShareGPT ranking: conversations, chosen, rejected"),
    "ShareGPT with a system text": (
        {**SHAREGPT, "system": "Be short."},
        turns(system("Be short."), user(Q)),
        "ShareGPT ranking: conversations, chosen, rejected, system",
    ),
    "ShareGPT, whole": (WHOLE, turns(), "dialogues in ShareGPT's spelling: chosen, rejected"),
    "ShareGPT, observation": (
        {**SHAREGPT, "conversations": [said("human", Q), said("gpt", "x"), said("observation", "4")]},
        turns(user(Q), assistant("x"), {"role": "tool", "content": "4"}),
        "ShareGPT ranking: conversations, chosen, rejected",
    ),
    "axolotl": (
        {"messages": [user(Q)], "chosen": assistant("four"), "rejected": assistant("five")},
        turns(),
        "dialogue and two answers: messages, chosen, rejected",
    ),
    "one message each": (
        {"prompt": Q, "chosen": assistant("four"), "rejected": assistant("five")},
        turns(),
        "prompt and two messages: prompt, chosen, rejected",
    ),
    "names of roles": (
        {
            name: [{"role": "Human", "content": Q}, {"role": "Assistant", "content": text}]
            for name, text in (("chosen", "four"), ("rejected", "five"))
        },
        turns(),
        "dialogues in ShareGPT's spelling: chosen, rejected",
    ),
    "OpenAI": (OPENAI, turns(), "OpenAI preferences: input.messages, preferred_output, non_preferred_output"),
    "ms-swift": (SWIFT, turns(), "ms-swift: messages, rejected_response"),
    "ms-swift, messages": (
        {"messages": SWIFT["messages"], "rejected_messages": [user(Q), assistant("five")]},
        turns(),
        "ms-swift: messages, rejected_messages",
    ),
    "Orca": (
        {"system": "Be short.", "question": Q, "chosen": "four", "rejected": "five"},
        turns(system("Be short."), user(Q)),
        "question with a system text: system, question, chosen, rejected",
    ),
    "Alpaca": (
        {"instruction": "Add.", "input": "2 2", "chosen": "four", "rejected": "five"},
        turns(user("Add.\n2 2")),
        "Alpaca ranking: input, instruction, chosen, rejected",
    ),
    "Alpaca without input": (
        {"instruction": Q, "input": "", "chosen": "four", "rejected": "five"},
        turns(),
        "Alpaca ranking: input, instruction, chosen, rejected",
    ),
    "SHP": (
        {"history": Q, "human_ref_A": "five", "human_ref_B": "four", "labels": 0, "score_A": 1, "score_B": 9},
        pair(),
        "SHP: history, human_ref_A, human_ref_B, labels",
    ),
    "PKU-SafeRLHF": (
        {"prompt": Q, "response_0": "five", "response_1": "four", "better_response_id": 1},
        pair(),
        "PKU-SafeRLHF: prompt, response_0, response_1, better_response_id",
    ),
    "HelpSteer2": (
        {"prompt": Q, "response_1": "four", "response_2": "five", "preference_strength": -2},
        pair(),
        "HelpSteer2 preferences: prompt, response_1, response_2, preference_strength",
    ),
    "HelpSteer3": (
        {"context": [user(Q)], "response1": "five", "response2": "four", "overall_preference": 1},
        turns(),
        "HelpSteer3 preferences: context, response1, response2, overall_preference",
    ),
    "arena": (
        {"prompt": Q, "response_a": "five", "response_b": "four", "winner": "model_b"},
        pair(),
        "arena battles: prompt, response_a, response_b, winner",
    ),
    "arena, dialogues": (
        {
            "conversation_a": [user(Q), assistant("four")],
            "conversation_b": [user(Q), assistant("five")],
            "winner": "model_a",
        },
        turns(),
        "arena battles: conversation_a, conversation_b, winner",
    ),
    "answers and a letter": (
        {"question": Q, "answer_a": "five", "answer_b": "four", "better": "B"},
        pair(),
        "comparison in words: question, answer_a, answer_b, better",
    ),
    "named side": (
        {"prompt": Q, "response_1": "five", "response_2": "four", "chosen": "response_2"},
        pair(),
        "comparison in words: prompt, response_1, response_2, chosen",
    ),
    "judge's place": (
        {"instruction": Q, "output_1": "five", "output_2": "four", "label": 2, "idx": 3},
        pair(),
        "comparison in words: instruction, output_1, output_2, label",
    ),
    "WebGPT": (
        {"question": {"full_text": Q}, "answer_0": "five", "score_0": -0.5, "answer_1": "four", "score_1": 0.5},
        pair(),
        "comparison by scores: question.full_text, answer_0, answer_1, score_0, score_1",
    ),
    "votes": (
        {"prompt": Q, "response_a": "four", "response_b": "five", "winner_model_a": 1, "winner_model_b": 0},
        pair(),
        "comparison by scores: prompt, response_a, response_b, winner_model_a, winner_model_b",
    ),
    "summaries": (
        {"info": {"post": Q}, "summaries": [{"text": "five"}, {"text": "four"}], "choice": 1},
        pair(),
        "comparisons of summaries: info.post, summaries.0.text, summaries.1.text, choice",
    ),
    "replies": (
        {
            "history": [{"role": "prompter", "text": Q}],
            "replies": [{"text": "five", "rank": 1}, {"text": "four", "rank": 0}],
        },
        turns(),
        "scored list: history, replies",
    ),
    "generations": (
        {"input": Q, "generations": ["five", "four"], "rating": [1.0, 4.0]},
        pair(),
        "scored list: input, generations, rating",
    ),
    "system beside an input": (
        {"system": "Be short.", "input": Q, "chosen": "four", "rejected": "five"},
        turns(system("Be short."), user(Q)),
        "pairs: input, chosen, rejected, system",
    ),
    "system prompt beside texts": (
        {"system_prompt": "Be short.", "prompt": Q, "chosen": "four", "rejected": "five"},
        turns(system("Be short."), user(Q)),
        "pairs: prompt, chosen, rejected, system_prompt",
    ),
    "AlpacaEval": (
        {"instruction": Q, "output_1": "five", "output_2": "four", "annotator": "x", "preference": 1.98},
        pair(),
        "AlpacaEval annotations: instruction, output_1, output_2, preference",
    ),
    "AlpacaFarm": (
        {"instruction": Q, "input": "", "output_1": "five", "output_2": "four", "preference": 2},
        pair(),
        "AlpacaEval annotations: instruction, output_1, output_2, preference",
    ),
    "UltraFeedback": (ULTRAFEEDBACK, pair(), "UltraFeedback: instruction, completions"),
    "Nectar": (
        {"prompt": Q, "answers": [{"answer": "four", "rank": 1.0}, {"answer": "five", "rank": 2.0}]},
        pair(),
        "Nectar: prompt, answers",
    ),
    "NeMo-RL": (
        {"context": [user(Q)], "completions": COMPLETIONS},
        turns(),
        "NeMo-RL completions: context, completions",
    ),
    "texts and scores": (
        {"prompt": Q, "responses": ["six", "five", "four"], "scores": ["1", 0, 2.5]},
        pair(),
        "scored list: prompt, responses, scores",
    ),
    "scored messages": (
        {
            "question": Q,
            "candidates": [{"message": assistant("five"), "score": 1}, {"message": assistant("four"), "score": 2}],
        },
        turns(),
        "scored list: question, candidates",
    ),
    "JSON of ShareGPT": (as_json(SHAREGPT), turns(), "ShareGPT ranking in JSON: conversations, chosen, rejected"),
    "JSON of messages": (as_json(turns()), turns(), "pairs in JSON: prompt, chosen, rejected"),
    "JSON of UltraFeedback": (as_json(ULTRAFEEDBACK), pair(), "UltraFeedback in JSON: instruction, completions"),
    "JSON of OpenAI": (
        as_json(OPENAI),
        turns(),
        "OpenAI preferences in JSON: input.messages, preferred_output, non_preferred_output",
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_rows_give_the_tokens_of_the_pairs_that_they_are(name, tmp_path, said):
    row, as_trl, words_of_it = FOUND[name]

    as_it_is = AutoFormat(as_messages=False if isinstance(as_trl["chosen"], str) else None)
    expected = tokens(tmp_path / "trl.jsonl", [as_trl] * 2, format=as_it_is.found_in([as_trl]))
    said.clear()
    assert tokens(tmp_path / "rows.jsonl", [row] * 2, format=as_it_is) == expected
    assert sum(f"split train: read as {words_of_it}" in line for line in said) == 1, said


@pytest.mark.parametrize("name", FOUND)
def test_each_is_found_among_labelled_completions_too(name):
    row, as_trl, _ = FOUND[name]
    found = AutoFormat().found_in([row], Compares.LABELLED)
    wanted = RowFormat().parse(as_trl)

    assert found.gives is Compares.LABELLED
    assert read_examples(found, row, str) == [wanted._replace(labels=[True, False])]


LABELLED = {
    "TRL's": ({"prompt": Q, "completion": "four", "label": True}, pair()),
    "dialogues": ({"messages": [user(Q), assistant("four")], "label": 1}, turns()),
    "ShareGPT": ({"conversations": [said("human", Q), said("gpt", "four")], "kto_tag": "true"}, turns()),
    "with a score": ({"prompt": Q, "completion": "four", "label": True, "rating": 5}, pair()),
    "Alpaca": ({"instruction": "Two and", "input": "two?", "output": "four", "kto_tag": True}, pair("Two and\ntwo?")),
    "words": ({"instruction": Q, "output": "four", "feedback": "👍🏽"}, pair()),
    "JSON": ({"prompt": Q, "completion": as_json({"c": [assistant("four")]})["c"], "label": "yes"}, turns()),
}


@pytest.mark.parametrize("name", LABELLED)
def test_labelled_completions_are_found(name, tmp_path):
    row, as_trl = LABELLED[name]
    as_it_is = False if isinstance(as_trl["chosen"], str) else None
    ((prompt, (chosen, _), _),) = tokens(tmp_path / "trl.jsonl", [as_trl], format=RowFormat(as_messages=as_it_is))

    with pytest.warns(UserWarning, match="every completion is desirable"):
        assert tokens(tmp_path / "rows.jsonl", [row], format=AutoFormat(as_messages=as_it_is)) == [
            (prompt, [chosen], [True])
        ]


def test_lists_are_found_for_objectives_on_lists():
    known = find_format([ULTRAFEEDBACK])
    assert isinstance(known.format, type(find_format([ULTRAFEEDBACK], Compares.PAIRS).format))
    lists = ScoredListFormat("instruction", completion="response", score="overall_score")
    assert lists.examples(ULTRAFEEDBACK)[0].completions == ["four", "six", "five"]


def test_pairs_in_columns_of_trl_stay_with_their_own_format():
    assert find_format([pair()], Compares.LABELLED).format == UnpairedFormat()
    assert find_format([SWIFT], Compares.LABELLED).format == LabelledPairs(SwiftFormat())


def test_a_pair_in_columns_of_trl_is_taken_before_what_stands_beside():
    row = {
        **pair(),
        "question": "other",
        "instruction": "other",
        "response_1": "x",
        "response_2": "y",
        "messages": [user(Q)],
    }
    assert find_format([row]).format == RowFormat()


def test_rows_of_two_formats_are_refused_with_both():
    row = {"question": Q, "query": "Three?", "chosen": "four", "rejected": "five"}
    with pytest.raises(
        InputError,
        match=r"^the rows may be read as pairs: question, chosen, rejected or as pairs: query, chosen, rejected: say",
    ):
        find_format([row])


def test_rows_of_no_format_are_refused_with_what_they_lack(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"messages": [user(Q), assistant("four")], "rejected_answer": "five"}])
    data = PreferenceDataModule(path, words())
    with pytest.raises(InputError) as raised:
        data.setup()
    message = str(raised.value)
    assert message.startswith(
        f"data.dataset: {path}, split train: the columns `messages`, `rejected_answer` are of no known format ("
    )
    assert message.count("ms-swift lack `rejected_response`") == 1
    assert len(message.splitlines()) == 1
