"""Fields of examples that the chat template in force does not read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dpo_lightning.compat.chat_templates import TemplateWords, template_words
from dpo_lightning.compat.transformers import template_fault
from dpo_lightning.data.formats import Conversation, Example, Message
from dpo_lightning.data.formats.recorded import holds
from dpo_lightning.data.formats.turns import answer
from dpo_lightning.data.tokenize.message_forms import says
from dpo_lightning.data.tokenize.rendering import RenderedExample
from dpo_lightning.data.tokenize.template_dates import templates_of
from dpo_lightning.data.tokenize.turns import WEIGHTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ALWAYS = {"role", "content", *WEIGHTS}


def words_of(tokenizer: PreTrainedTokenizerBase) -> TemplateWords | None:
    """Return the words of a tokenizer's chat templates; None where it has none that can be read."""
    templates = templates_of(tokenizer)
    if not templates or not all(isinstance(each, str) and template_fault(each) is None for each in templates):
        return None
    words = [template_words(each) for each in templates]
    return TemplateWords(
        frozenset().union(*(each.variables for each in words)), frozenset().union(*(each.fields for each in words))
    )


def unread_keys(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> list[str]:
    """Return the keys of messages that hold values and that the chat template does not write.

    A key counts where the template does not name it, and writes the same without it.
    """
    words = words_of(tokenizer)
    if words is None:
        return []
    holders: dict[str, Conversation] = {}
    for example in examples:
        for dialogue in _dialogues(example):
            for key in _keys(dialogue) - words.fields:
                holders.setdefault(key, dialogue)
    return sorted(key for key, dialogue in holders.items() if _same_without(tokenizer, key, dialogue))


def message_keys(examples: Iterable[Example]) -> set[str]:
    """Return the keys of messages that hold values, other than `role` and `content`."""
    return {key for each in examples for dialogue in _dialogues(each) for key in _keys(dialogue)}


def unread_arguments(tokenizer: PreTrainedTokenizerBase, examples: Iterable[Example]) -> list[str]:
    """Return the names of the rows' template arguments that the chat template does not read."""
    words = words_of(tokenizer)
    given = {name for each in examples for name, value in each.template_arguments.items() if value is not None}
    return [] if words is None else sorted(given - words.variables)


def leaves_words(rendered: RenderedExample) -> bool:
    """Return whether the chat template has left words out of an answer, as thoughts, or a text beside a call."""
    if not rendered.templated or rendered.ids is not None:
        return False
    answers = zip(map(answer, rendered.source.completions), rendered.completions, strict=True)
    return not all(
        says(text, each.get("content"))
        for messages, text in answers
        for each in messages
        if each["role"] == "assistant"
    )


def reads_tools(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the chat template reads definitions of tools; True where it cannot be read."""
    words = words_of(tokenizer)
    return words is None or "tools" in words.variables


def _dialogues(example: Example) -> list[Conversation]:
    if isinstance(example.prompt, str):
        return []
    return [[*example.prompt, *each] for each in example.completions if not isinstance(each, str)]


def _keys(dialogue: Conversation) -> set[str]:
    return {key for message in dialogue for key, value in message.items() if holds(value)} - _ALWAYS


def _same_without(tokenizer: PreTrainedTokenizerBase, key: str, dialogue: Conversation) -> bool:
    bare: list[Message] = [{name: value for name, value in each.items() if name != key} for each in dialogue]
    try:
        with_key, without = (tokenizer.apply_chat_template(each, tokenize=False) for each in (dialogue, bare))
    except Exception:  # a template is a program, and raises whatever it likes: so it looks
        return False
    return with_key == without
