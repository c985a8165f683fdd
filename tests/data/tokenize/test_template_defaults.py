"""Arguments as defaults inside a chat template: what an export has of a run's `chat_template_kwargs`."""

from __future__ import annotations

import pytest

from dpo_lightning.data.tokenize.template_defaults import with_defaults
from tests.helpers.tokenizers import CHATML, chat, turn

READS = "{% macro say() %}{{ a | tojson }}{% endmacro %}{% for m in messages %}{{ say() }}{{ m.content }}{% endfor %}"


def written(template, **arguments):
    return chat(template).apply_chat_template([turn("user", "q")], tokenize=False, **arguments)


@pytest.mark.parametrize("value", [False, True, None, 3, -0.5, 'it\'s "x" {{ y }}\n', [1, None], {"k": [True, "v"]}])
def test_a_default_is_read_as_an_argument_is_and_gives_way_to_one(value):
    template = with_defaults(READS, {"a": value})
    assert written(template) == written(READS, a=value)
    assert written(template, a="other") == '"other"q'


@pytest.mark.parametrize("template", [CHATML, f"\n{CHATML}", f"\n\n {CHATML}"])
def test_nothing_else_is_written_otherwise(template):
    assert written(with_defaults(template, {"enable_thinking": False})) == written(template)


def test_several_templates_and_none():
    assert with_defaults({"a": "x"}, {"b": 1})["a"].endswith("x")
    assert with_defaults(None, {"b": 1}) is None
    assert with_defaults("x", {}) == "x"


def test_a_text_beyond_the_basic_plane_stays_itself():
    from jinja2 import Environment

    written = with_defaults("{{ x }}{{ y['ü'] }}", {"x": "\U0001f642 é", "y": {"ü": 'a"%}'}})
    assert Environment().from_string(written).render() == '\U0001f642 éa"%}'
