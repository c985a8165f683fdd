"""The one place that fills in chat templates: arguments, roles, forms of messages, the date."""

from __future__ import annotations

import datetime

import pytest

from dpo_lightning.data import Example
from dpo_lightning.data.tokenize.chat_template import ChatTemplate
from dpo_lightning.errors import InputError
from tests.helpers.tokenizers import CHATML, chat, turn
from tests.helpers.writes_tokens import BOS, END_INST, INST, WritesTokens

ASK = [turn("user", "q")]
CALL = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}


def written(template: str, messages=ASK, example: Example | None = None, **settings) -> str:
    return ChatTemplate(chat(template), **settings).text(example or Example(ASK, []), messages)


def test_arguments_of_the_row_come_before_those_of_all_rows():
    template = "{{ messages[0].content }}{{ a }}{{ b }}{{ tools }}"
    example = Example(ASK, [], tools=[{"n": 1}], template_arguments={"b": 3})
    assert written(template, example=example, arguments={"a": 1, "b": 2}) == "q13[{'n': 1}]"


def test_the_date_is_the_one_given():
    template = "{{ strftime_now('%d %b %Y') }}{{ messages[0].content }}"
    assert written(template, date=datetime.date(2024, 7, 26)) == "26 Jul 2024q"
    assert written(template) == datetime.datetime.now().strftime("%d %b %Y") + "q"


@pytest.mark.parametrize("role", ["function", "ipython", "narrator"])
def test_a_role_passes_where_the_template_names_it(role):
    named = ChatTemplate(chat(f"{{% if m.role == '{role}' %}}x{{% endif %}}"))
    named.check_roles([turn(role, "a")], "the prompt")
    with pytest.raises(InputError, match=f"^message 1 of the prompt: role '{role}' is none of system, .*not name it"):
        ChatTemplate(chat(CHATML)).check_roles([*ASK, turn(role, "a")], "the prompt")


def test_what_a_template_leaves_out_is_refused_and_thoughts_may_be():
    only_users = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    with pytest.raises(InputError, match="leaves out a message of role 'system'"):
        written(only_users, [turn("system", "Be brief"), *ASK])
    with pytest.raises(InputError, match="leaves out a tool call"):
        written("{% for m in messages %}{{ m.content }}{% endfor %}", [*ASK, CALL])
    assert written(only_users, [*ASK, turn("assistant", "hm")]) == "q"
    spelled = "{% for m in messages %}{{ m.content | tojson }}{% endfor %}"
    assert written(spelled, [turn("tool", 'a "b"\n\nc')]) == '"a \\"b\\"\\n\\nc"'


@pytest.mark.parametrize("content", [None, "f, I say"])
def test_a_call_is_left_out_also_where_its_name_stands_elsewhere(content):
    """In the definitions of the tools, or in what the message says beside it."""
    message = CALL if content is None else {**CALL, "content": content}
    template = "{{ tools }}{% for m in messages %}{{ m.content }}{% endfor %}"
    with pytest.raises(InputError, match="leaves out a tool call"):
        written(template, [*ASK, message], Example(ASK, [], tools=[{"name": "f"}]))


def test_a_short_result_is_not_taken_for_written():
    template = (
        "{% for m in messages if m.role != 'tool' %}{{ m.content }}{% for c in m.tool_calls %}{{ c }}{% endfor %}"
    )
    with pytest.raises(InputError, match="leaves out a message of role 'tool'"):
        written(template + "{% endfor %}1", [*ASK, CALL, turn("tool", "1")])


def test_a_template_that_knows_its_functions_is_taken_to_read_them():
    template = "{{ messages[1].tool_calls[0].function.name if f else raise_exception('?') }}{{ messages[0].content }}"
    template = template.replace("if f", "if messages[1].tool_calls[0].function.name == 'f'")
    assert written(template, [*ASK, CALL]) == "fq"


def test_the_words_of_a_template_come_before_those_of_jinja():
    with pytest.raises(InputError, match="does not take these messages: Only users"):
        written(
            "{% for m in messages %}{{ 'x' + m.content }}{% endfor %}{{ raise_exception('Only users') }}", [*ASK, CALL]
        )


@pytest.mark.parametrize("arguments", [{"x": 1}, '{"x": 1}'])
@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for k, v in call.arguments.items() %}{{ k }}={{ v }}{% endfor %}", "fx=1"),
        ("{{ ' ' + call.arguments }}", 'f {"x": 1}'),
        ("{{ call.arguments | tojson }}", 'f{"x": 1}'),
        ("{{ ' ' + messages[0].content + call.arguments }}", 'f {"x": 1}'),
    ],
)
def test_a_template_gets_arguments_of_calls_as_it_takes_them(arguments, template, expected):
    message = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
    whole = "{% set call = messages[0].tool_calls[0].function %}{{ call.name }}" + template
    assert written(whole, [message]) == expected


def test_a_template_that_reads_parts_gets_parts():
    template = "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}"
    assert written(template) == "q"


def test_tokens_are_those_of_a_tokenizer_that_writes_them():
    template = ChatTemplate(WritesTokens())
    assert template.writes_tokens
    letters = WritesTokens().get_vocab()
    assert template.tokens(Example(ASK, []), ASK, add_generation_prompt=True) == [BOS, INST, letters["q"], END_INST]
    with pytest.raises(InputError, match="the tokenizer does not take these messages: Expected last role User"):
        template.tokens(Example(ASK, []), [*ASK, turn("assistant", "a")], add_generation_prompt=True)
