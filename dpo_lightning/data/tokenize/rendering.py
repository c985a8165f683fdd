"""An example -> the text that a model sees: plain, or written by the chat template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from dpo_lightning.compat.transformers import generated_spans
from dpo_lightning.data.control_tokens import OPEN
from dpo_lightning.data.formats import Conversation, Example
from dpo_lightning.data.formats.messages import is_blank
from dpo_lightning.data.tokenize.turns import Span, without_weights
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class RenderedExample(NamedTuple):
    """An example as the text that the model sees, BOS and EOS of plain text left out.

    Attributes:
        row: Row of the source data.
        source: What the row says.
        prompt: Text of the prompt.
        completions: Text of each completion.
        templated: Whether a chat template has written it, which has put its own special tokens.
        counted: Characters of each completion that count, None for all of one; empty for all of all.
    """

    row: int
    source: Example
    prompt: str
    completions: list[str]
    templated: bool
    counted: Sequence[Sequence[Span] | None] = ()

    @property
    def quotes(self) -> bool:
        """True where control tokens that it spells are quoted, and stay text."""
        return any(OPEN in text for text in (self.prompt, *self.completions))

    @property
    def empty(self) -> bool:
        """True where a completion says nothing."""
        return any(map(_is_blank, self.source.completions))


_GENERATION = re.compile(r"\{%[-+]?\s*generation\b")


@dataclass(frozen=True)
class Renderer:
    """Writes examples as text, conversations by the tokenizer's chat template.

    Args:
        tokenizer: A Hugging Face tokenizer.
        template_arguments: Further arguments of the chat template, such as `enable_thinking`.
    """

    tokenizer: PreTrainedTokenizerBase
    template_arguments: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, example: Example, row: int) -> RenderedExample:
        """Write an example as text.

        Args:
            example: What the row says.
            row: Row of the source data.

        Raises:
            InputError: when a conversation meets no chat template, or one that does not fit it.
        """
        if isinstance(example.prompt, str):
            texts = [_text(completion) for completion in example.completions]
            return RenderedExample(row, example, example.prompt, texts, templated=False)
        prompt = self.write(example, example.prompt, answered=False)
        written = [
            self._continuation(prompt, self.write(example, example.prompt + _messages(completion), answered=True))
            for completion in example.completions
        ]
        return RenderedExample(row, example, prompt, written, templated=True)

    @cached_property
    def special(self) -> tuple[str, ...]:
        """The special tokens that may close a turn."""
        added = self.tokenizer.added_tokens_decoder.values()
        return tuple({*map(str, self.tokenizer.all_special_tokens), *(str(entry) for entry in added if entry.special)})

    def marked(self, example: Example, messages: Conversation) -> list[Span] | None:
        """Return the characters that the template marks as the assistant's; None where it has no `{% generation %}`."""
        tools = None if example.tools is None else list(example.tools)
        template = self.tokenizer.get_chat_template(None, tools)
        if not _GENERATION.search(template):
            return None
        arguments = {**self.tokenizer.special_tokens_map, **self.template_arguments, **example.template_arguments}
        return generated_spans(template, without_weights(messages), tools, arguments)

    def write(self, example: Example, messages: Conversation, answered: bool) -> str:
        """Write messages by the chat template, with the tools and arguments of their example.

        Raises:
            InputError: where there is none, or it does not take them.
        """
        if self.tokenizer.chat_template is None:
            raise InputError(
                f"the rows are message lists, but tokenizer {self.tokenizer.name_or_path!r} has no chat template: "
                "give one in `data.chat_template`"
            )
        try:
            return self.tokenizer.apply_chat_template(
                without_weights(messages),
                tools=example.tools,
                tokenize=False,
                add_generation_prompt=not answered,
                **{**self.template_arguments, **example.template_arguments},
            )
        except Exception as error:  # a template is a program, and raises whatever it likes
            raise InputError(f"the chat template does not take these messages: {one_line(error, 1000)}") from None

    def _continuation(self, prompt: str, dialogue: str) -> str:
        if not dialogue.startswith(prompt):
            raise InputError(
                "the chat template writes a prompt differently once it is answered, so the completion has no clear "
                "start: give another template in `data.chat_template`"
            )
        return dialogue[len(prompt) :]


def _text(completion: str | Conversation) -> str:
    if not isinstance(completion, str):
        raise InputError("the prompt is text, and a completion is a list of messages")
    return completion


def _messages(completion: str | Conversation) -> Conversation:
    if isinstance(completion, str):
        raise InputError("the prompt is a list of messages, and a completion is text")
    return completion


def _is_blank(completion: str | Conversation) -> bool:
    if isinstance(completion, str):
        return not completion.strip()
    return all(map(is_blank, completion))
