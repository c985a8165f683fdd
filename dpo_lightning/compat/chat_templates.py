"""Words of chat templates, by transformers' own reader of them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple


class TemplateWords(NamedTuple):
    """The words of a chat template.

    Attributes:
        variables: Names of the variables that it reads, `messages` among them.
        fields: Names of attributes and all texts: a key of messages that is not among them is not read by its name.
    """

    variables: frozenset[str]
    fields: frozenset[str]


@lru_cache(maxsize=16)
def template_words(template: str) -> TemplateWords:
    """Return the words of a chat template.

    Touches `chat_template_utils._compile_jinja_template`, for the tags of transformers beside those of Jinja. Where it
    changes, the start of a run fails.

    Raises:
        jinja2.TemplateSyntaxError: for what is no template.
    """
    from jinja2 import nodes
    from transformers.utils import chat_template_utils

    tree = chat_template_utils._compile_jinja_template(template).environment.parse(template)
    names = {each.name for each in tree.find_all(nodes.Name) if each.ctx == "load"}
    texts = {each.value for each in tree.find_all(nodes.Const) if isinstance(each.value, str)}
    return TemplateWords(frozenset(names), frozenset(texts | {each.attr for each in tree.find_all(nodes.Getattr)}))
