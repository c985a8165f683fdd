"""Rows of every shape -> triples, and what is said about rows that have none."""

from __future__ import annotations

import random
from typing import Any

import pytest

from dpo_lightning.data import Example, RowFormat
from dpo_lightning.errors import InputError


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def parse(row: Any, **settings: Any) -> Example:
    return RowFormat(**settings).parse(row)


# Text


def test_text_is_taken_as_it_is():
    row = {"prompt": "Two and two? ", "chosen": "four\n", "rejected": " five", "source": 3}
    assert parse(row) == Example.pair("Two and two? ", "four\n", " five")


def test_the_columns_may_have_other_names():
    row = {"question": "q", "yes": "a", "no": "b", "prompt": None, "chosen": 1}
    assert parse(row, prompt="question", chosen="yes", rejected="no") == Example.pair("q", "a", "b")


def test_templates_frame_text_and_leave_its_braces_alone():
    row = {"prompt": "{x} {0} {prompt} {completion}", "chosen": "{completion} }{", "rejected": "%s {prompt}"}
    pair = parse(row, prompt_template="Instruct: {prompt}\n", completion_template="Output: {completion}|{y}")
    assert pair == Example.pair(
        "Instruct: {x} {0} {prompt} {completion}\n",
        "Output: {completion} }{|{y}",
        "Output: %s {prompt}|{y}",
    )


def test_a_blank_completion_is_not_framed_so_that_it_counts_as_empty():
    pair = parse({"prompt": "", "chosen": " \n", "rejected": "b"}, completion_template="Output: {completion}")
    assert pair == Example.pair("", " \n", "Output: b")


@pytest.mark.parametrize(
    "settings",
    [
        {"prompt_template": "Instruct: {prompt}"},
        {"completion_template": "Output: {completion}"},
        {"turn_marker": "A:"},
        {"control_tokens": True},
    ],
)
def test_settings_of_text_mean_nothing_to_messages(settings):
    row = {"prompt": [user("q")], "chosen": [assistant("a")], "rejected": [assistant("b")]}
    (name,) = settings
    with pytest.raises(InputError, match=rf"^format\.{name} is for rows of text: the rows are messages"):
        parse(row, **settings)


# Text with an implicit prompt

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


@pytest.mark.parametrize(
    ("shared", "chosen", "rejected"),
    [
        pytest.param(f"{HUMAN} Two and two?{ASSISTANT}", " four", " five", id="one turn, completions share letters"),
        pytest.param(f"{HUMAN} a{ASSISTANT} b{HUMAN} c{ASSISTANT}", " yes", " yesterday", id="one begins the other"),
        pytest.param(f"{HUMAN} a{ASSISTANT} b{HUMAN} c{ASSISTANT}", " x", " y", id="two turns"),
        pytest.param(f"{HUMAN} a{ASSISTANT}", " same", " same", id="the same"),
        pytest.param(f"{HUMAN} a{ASSISTANT}", "", " b", id="one is empty"),
        pytest.param(f"{HUMAN} a{ASSISTANT}", f" b{HUMAN} c{ASSISTANT} d", f" b{HUMAN} e{ASSISTANT} f", id="diverging"),
    ],
)
def test_two_dialogues_are_split_after_the_last_marker_that_they_share(shared, chosen, rejected):
    assert parse({"chosen": shared + chosen, "rejected": shared + rejected}) == Example.pair(shared, chosen, rejected)


def test_a_split_is_never_inside_a_word():
    # Where both go on with "f", the longest shared text ends inside the answer.
    row = {"chosen": "Q: two and two?\nA: four", "rejected": "Q: two and two?\nA: five"}
    assert parse(row, turn_marker="\nA:") == Example.pair("Q: two and two?\nA:", " four", " five")


def test_a_marker_that_only_one_dialogue_has_is_not_shared():
    row = {"chosen": f"{HUMAN} a{ASSISTANT} b{ASSISTANT} c", "rejected": f"{HUMAN} a{ASSISTANT} b\n\nAssist"}
    assert parse(row).prompt == f"{HUMAN} a{ASSISTANT}"


def test_dialogues_without_a_shared_marker_are_refused_with_both_ways_out():
    with pytest.raises(InputError, match=r"no column `prompt`.*`chosen` and `rejected`.*turn_marker"):
        parse({"chosen": "two: four", "rejected": "two: five"})


# Messages


def test_message_lists():
    row = {
        "prompt": [system("s"), user("q")],
        "chosen": [assistant("a")],
        "rejected": [assistant("b"), user("what?"), assistant("c")],
    }
    assert parse(row) == Example.pair(row["prompt"], row["chosen"], row["rejected"])


def test_what_the_template_reads_beside_messages_goes_along():
    row = {"prompt": [user("q")], "chosen": [assistant("a")], "rejected": [assistant("b")]}
    inputs = {"tools": [{"name": "f"}], "chat_template_kwargs": {"enable_thinking": False}}
    example = parse({**row, **inputs})
    assert (example.tools, example.template_arguments) == ([{"name": "f"}], {"enable_thinking": False})


def test_a_text_prompt_with_message_completions_is_a_user_turn():
    row = {"prompt": "q", "chosen": [assistant("a")], "rejected": [assistant("b")]}
    assert parse(row) == Example.pair([user("q")], [assistant("a")], [assistant("b")])


def test_a_text_prompt_that_the_dialogues_repeat_is_there_once():
    # The form of HuggingFaceH4/ultrafeedback_binarized.
    row = {
        "prompt": "q",
        "chosen": [user("q"), assistant("a")],
        "rejected": [user("q"), assistant("b")],
        "messages": [user("q"), assistant("a")],
        "score_chosen": 8.0,
    }
    assert parse(row) == Example.pair([user("q")], [assistant("a")], [assistant("b")])


@pytest.mark.parametrize("prompt", [{}, {"prompt": []}], ids=["no column", "empty list"])
@pytest.mark.parametrize(
    ("shared", "chosen", "rejected"),
    [
        pytest.param([user("q")], [assistant("four")], [assistant("five")], id="one turn"),
        pytest.param(
            [system("s"), user("q"), assistant("a"), user("r")], [assistant("x")], [assistant("y")], id="three turns"
        ),
        pytest.param([user("q")], [assistant("a")], [assistant("a")], id="the same"),
        pytest.param(
            [user("q")],
            [assistant("a"), user("b"), assistant("x")],
            [assistant("a"), user("c"), assistant("y")],
            id="parting at a user turn",
        ),
        pytest.param([user("q")], [assistant("a")], [assistant("a"), user("b"), assistant("c")], id="longer by a turn"),
    ],
)
def test_dialogues_are_split_where_both_go_on_with_the_assistant(prompt, shared, chosen, rejected):
    assert parse({**prompt, "chosen": shared + chosen, "rejected": shared + rejected}) == Example.pair(
        shared, chosen, rejected
    )


# What is refused

GOOD = {"prompt": "p", "chosen": "a", "rejected": "b"}
TURNS = {"prompt": [user("q")], "chosen": [assistant("a")], "rejected": [assistant("b")]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param({"prompt": "p", "rejected": "b"}, "no column `chosen`; the columns are `prompt`, `rejected`"),
        pytest.param({"prompt": "p", "chosen": "a"}, "no column `rejected`"),
        pytest.param({}, "no column `chosen`"),
        *[pytest.param({**GOOD, name: None}, f"field `{name}`: null") for name in GOOD],
        *[pytest.param({**GOOD, name: 3}, f"field `{name}`: int, not text") for name in GOOD],
        *[pytest.param({**GOOD, name: {"a": 1}}, f"field `{name}`: dict, not text") for name in GOOD],
        *[pytest.param({**GOOD, name: float("nan")}, f"field `{name}`: float, not text") for name in GOOD],
        pytest.param({**GOOD, "chosen": [assistant("a")]}, "fields `chosen` and `rejected`: one is text"),
        *[pytest.param({**TURNS, name: ["q"]}, f"field `{name}`, message 0: not a mapping") for name in TURNS],
        *[pytest.param({**TURNS, name: [{"role": "user"}]}, f"field `{name}`, message 0: not a") for name in TURNS],
        *[pytest.param({**TURNS, name: [None]}, f"field `{name}`, message 0: not a mapping") for name in TURNS],
        pytest.param({**TURNS, "chosen": [{"role": "bot", "content": ""}]}, "message 0: role 'bot' is none"),
        pytest.param({**TURNS, "prompt": [{"role": ["user"], "content": ""}]}, "message 0: role .* is no name"),
        pytest.param({**TURNS, "chosen": [assistant(None)]}, "field `chosen`, message 0: content is null"),
        pytest.param(
            {**TURNS, "chosen": [assistant([{"type": "image"}])]},
            "field `chosen`, message 0: content has a part of type 'image'",
        ),
        pytest.param(
            {name: [user("q"), assistant("a"), assistant(name)] for name in ("chosen", "rejected")},
            "the last message that both dialogues share is the assistant's",
        ),
        *[pytest.param({**TURNS, name: []}, f"field `{name}`: no message") for name in ("chosen", "rejected")],
        *[
            pytest.param({**TURNS, name: [user("a"), assistant("b")]}, f"field `{name}`: it begins with 'user'")
            for name in ("chosen", "rejected")
        ],
        *[
            pytest.param({**TURNS, name: [assistant("a"), user("b")]}, f"field `{name}`: it ends with 'user'")
            for name in ("chosen", "rejected")
        ],
        pytest.param(
            {"chosen": [user("q"), assistant("a")], "rejected": [user("r"), assistant("b")]},
            "fields `chosen` and `rejected`: after the turns that they share",
        ),
        pytest.param({"chosen": [assistant("a")], "rejected": [assistant("b")]}, "fields `chosen` and `rejected`: aft"),
        pytest.param({"chosen": [], "rejected": []}, "fields `chosen` and `rejected`: after"),
    ],
)
def test_a_bad_row_is_refused_in_one_line_that_names_the_field(row, message):
    with pytest.raises(InputError, match=message) as error:
        parse(row)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt_template": "Instruct:"}, "prompt_template must contain {prompt} once, got 'Instruct:'"),
        ({"prompt_template": "{prompt}{prompt}"}, "prompt_template must contain {prompt} once"),
        ({"completion_template": "{prompt}"}, "completion_template must contain {completion} once"),
        ({"turn_marker": ""}, "turn_marker must not be empty"),
    ],
)
def test_a_format_that_can_fit_no_row_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        RowFormat(**settings)


# Any row at all

_TEXTS = [
    "", " ", "\n", "a", "ab", "\x00", "\x1b[0m", "\u202e", "\ufeff", "é", "e\u0301", "👩\u200d🚀", "\ud800", "{prompt}",
    "{completion}", "</s>", HUMAN, ASSISTANT, f"{HUMAN} q{ASSISTANT} a", f"{HUMAN} q{ASSISTANT} b", "Assistant:",
]  # fmt: skip


def _junk(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(10)
    if kind < 4:
        return "".join(rng.choices(_TEXTS, k=rng.randrange(4)))
    if kind == 4:
        return rng.choice([None, True, 0, -1, 1.5, float("nan"), float("inf"), b"bytes", 1 << 70, (), {1}])
    if depth > 2:
        return None
    if kind < 8:
        return [_message(rng, depth) for _ in range(rng.randrange(4))]
    if kind == 8:
        return [_junk(rng, depth + 1) for _ in range(rng.randrange(3))]
    return {rng.choice(["role", "content", "", 3, None]): _junk(rng, depth + 1) for _ in range(rng.randrange(3))}


def _message(rng: random.Random, depth: int) -> Any:
    if rng.random() < 0.03:
        return _junk(rng, depth + 1)
    role = rng.choice(["user", "assistant", "assistant", "system", "tool"]) if rng.random() < 0.97 else _junk(rng, 3)
    return {"role": role, "content": rng.choice(_TEXTS[:6]) if rng.random() < 0.97 else _junk(rng, depth + 1)}


def _dialogue(rng: random.Random) -> dict[str, Any]:
    """A row that is nearly right: a conversation and two ways on."""
    shared = [
        user(rng.choice(_TEXTS)) if i % 2 == 0 else assistant(rng.choice(_TEXTS)) for i in range(rng.choice([1, 3]))
    ]
    replies = [[assistant(rng.choice(_TEXTS))] for _ in range(2)]
    if rng.random() < 0.3:
        replies[0] += [user(rng.choice(_TEXTS)), assistant(rng.choice(_TEXTS))]
    prompt = rng.choice([None, shared, shared, shared[0]["content"]])
    repeats = prompt is None or rng.random() < 0.5
    chosen, rejected = ((shared if repeats else []) + reply for reply in replies)
    return {**({} if prompt is None else {"prompt": prompt}), "chosen": chosen, "rejected": rejected}


def _row(rng: random.Random) -> dict[str, Any]:
    row = _dialogue(rng) if rng.random() < 0.4 else {}
    share_of_junk = 0.05 if row else 0.8
    for name in ("prompt", "chosen", "rejected"):
        if rng.random() < share_of_junk:
            row[name] = _junk(rng)
    return row


def _turns(value: Any) -> list[dict[str, str]]:
    return (
        [user(value)] if isinstance(value, str) else [{"role": m["role"], "content": m["content"] or ""} for m in value]
    )


def _said(completion: Any) -> list[dict[str, str]]:
    return [assistant(completion)] if isinstance(completion, str) else []


def _reassembles(row: dict[str, Any], pair: Example) -> bool:
    """Prompt and completion are the row's own, whole and in order, the shared part once."""
    if isinstance(pair.prompt, str):
        prompt = row.get("prompt", "")
        return all(
            pair.prompt + completion == prompt + row[name]
            for name, completion in zip(("chosen", "rejected"), pair.completions, strict=True)
        )
    given = _turns(row.get("prompt", []))
    return all(
        pair.prompt + completion in (_turns(row[name]), given + _turns(row[name]), [*given, *_said(row[name])])
        for name, completion in zip(("chosen", "rejected"), pair.completions, strict=True)
    )


def _is_clean(value: Any) -> bool:
    messages = isinstance(value, list) and value and all(map(_is_clean_message, value))
    return isinstance(value, str) or messages


def _is_clean_message(message: Any) -> bool:
    return message.keys() == {"role", "content"} and all(isinstance(value, str) for value in message.values())


def test_any_row_gives_a_triple_of_its_own_text_or_an_input_error():
    rng = random.Random(0)
    outcomes = {"text": 0, "messages": 0, "refused": 0}
    for _ in range(6000):
        row = _row(rng)
        try:
            pair = parse(row)
        except InputError:
            outcomes["refused"] += 1
            continue
        parts = [pair.prompt, *pair.completions]
        assert len(parts) == 3
        assert all(map(_is_clean, parts)), row
        assert len({type(part) for part in parts}) == 1, row
        assert _reassembles(row, pair), row
        outcomes["text" if isinstance(pair.prompt, str) else "messages"] += 1
    assert min(outcomes.values()) > 100, outcomes
