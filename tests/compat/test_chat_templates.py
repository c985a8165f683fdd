"""Words of chat templates."""

from __future__ import annotations

import pytest
from jinja2 import TemplateSyntaxError

from dpo_lightning.compat.chat_templates import template_words

TEMPLATE = """
{%- if tools is defined and enable_thinking %}{{ tools | tojson }}{% endif %}
{%- macro write(text) %}{{ text }}{% endmacro %}
{%- for message in messages %}
{% generation %}{{ message['reasoning_content'] or message.get("thinking") or message.content }}{% endgeneration %}
{%- if 'name' in message %}{{ message.name.first }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ bos_token }}{% endif %}
"""


def test_variables_and_fields_are_found_whatever_names_them():
    words = template_words(TEMPLATE)
    assert {"tools", "enable_thinking", "messages", "add_generation_prompt", "bos_token"} <= words.variables
    assert {"reasoning_content", "thinking", "content", "name", "first"} <= words.fields
    assert not {"tool_calls", "role", "refusal"} & words.fields
    assert "documents" not in words.variables


def test_what_is_no_template_is_an_error():
    with pytest.raises(TemplateSyntaxError):
        template_words("{% for m in messages %}")
