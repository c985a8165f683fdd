"""An example -> what a model sees: text, plain or written by the chat template."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from dpo_lightning.data.control_tokens import OPEN
from dpo_lightning.data.formats import Conversation, Example
from dpo_lightning.data.formats.messages import is_blank
from dpo_lightning.data.formats.turns import answer
from dpo_lightning.data.tokenize.boundary import shared_length
from dpo_lightning.data.tokenize.chat_template import ChatTemplate
from dpo_lightning.data.tokenize.prefill import continues, joined
from dpo_lightning.data.tokenize.turns import Span
from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class RenderedExample(NamedTuple):
    """An example as the text that the model sees, BOS and EOS of plain text left out.

    Attributes:
        row: Row of the source data.
        source: What the row says.
        prompt: Text of the prompt, as far as all completions continue it.
        completions: Text of each completion.
        templated: Whether a chat template has written it, which has put its own special tokens.
        opened: What a template writes after `prompt` where an answer is to come, and not before an answer.
        fragment: Whether completions are parts of an answer, of which a blank one says something.
        ids: Tokens of the prompt, and of each answered dialogue, where the tokenizer writes conversations as tokens.
        counted: Characters of each completion that count, None for all of one; empty for all of all.
    """

    row: int
    source: Example
    prompt: str
    completions: list[str]
    templated: bool
    opened: str = ""
    fragment: bool = False
    ids: tuple[list[int], list[list[int]]] | None = None
    counted: Sequence[Sequence[Span] | None] = ()

    @property
    def quotes(self) -> bool:
        """True where control tokens that it spells are quoted, and stay text."""
        return any(OPEN in text for text in (self.prompt, *self.completions))

    @property
    def empty(self) -> bool:
        """True where a completion says nothing."""
        return any(_is_empty(each, self.fragment) for each in self.source.completions)


@dataclass(frozen=True)
class Renderer:
    """Writes examples as text, conversations by the tokenizer's chat template.

    Args:
        tokenizer: A Hugging Face tokenizer.
        template_arguments: Further arguments of the chat template, such as `enable_thinking`.
        date: What the chat template gets when it asks for the time; None for the clock.
        open_ended: Leave out what a template writes after the last text of an answer.
    """

    tokenizer: PreTrainedTokenizerBase
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
    date: datetime.date | None = None
    open_ended: bool = False

    def __call__(self, example: Example, row: int) -> RenderedExample:
        """Write an example as text.

        A prompt that ends with a message of the assistant is continued by its completions.

        Args:
            example: What the row says.
            row: Row of the source data.

        Raises:
            InputError: when a conversation meets no chat template, or one that does not fit it.
        """
        if isinstance(example.prompt, str):
            texts = [_text(completion) for completion in example.completions]
            return RenderedExample(row, example, example.prompt, texts, templated=False, fragment=self.open_ended)
        prompt = example.prompt
        answers = [answer(completion) for completion in example.completions]
        fragment = self.open_ended or continues(prompt)
        write = self._tokens if self.template.writes_tokens else self._texts
        return write(RenderedExample(row, example, "", [], templated=True, fragment=fragment), prompt, answers)

    @cached_property
    def template(self) -> ChatTemplate:
        """The chat template, as it is filled in for all rows."""
        return ChatTemplate(self.tokenizer, self.template_arguments, self.date)

    def _texts(self, begun: RenderedExample, messages: Conversation, answers: list[Conversation]) -> RenderedExample:
        template, example = self.template, begun.source
        for place, checked in [("the prompt", messages), *(("a completion", each) for each in answers)]:
            template.check_roles(checked, place)
        prompt = template.text(example, messages, **_start(messages))
        end = {"continue_final_message": True} if self.open_ended else {}
        dialogues = [template.text(example, joined(messages, each), **end) for each in answers]
        shared = prompt
        if not all(each.startswith(prompt) for each in dialogues):
            shared = prompt[: shared_length([prompt, *dialogues])]
            self._check_shared(example, messages, prompt, shared)
        completions = [dialogue[len(shared) :] for dialogue in dialogues]
        return begun._replace(prompt=shared, completions=completions, opened=prompt[len(shared) :])

    def _check_shared(self, example: Example, messages: Conversation, prompt: str, shared: str) -> None:
        """Refuse a prompt whose messages are written in another way once they are answered."""
        if continues(messages):
            said = prompt
        else:
            bare = self.template.text(example, messages)
            said = prompt[: shared_length([bare, prompt])]
        if not shared.startswith(said):
            raise InputError(
                "the chat template writes a prompt differently once it is answered, so the completion has no clear "
                "start: give another template in `data.chat_template`"
            )

    def _tokens(self, begun: RenderedExample, messages: Conversation, answers: list[Conversation]) -> RenderedExample:
        # mistral-common takes a dialogue that is answered for one to go on with, and writes no EOS.
        template, example = self.template, begun.source
        prompt = template.tokens(example, messages, **_start(messages))
        dialogues = [template.tokens(example, joined(messages, each), continue_final_message=True) for each in answers]
        shared = shared_length([prompt, *dialogues])
        if shared < len(prompt) and not continues(messages):
            raise InputError("the tokenizer writes a prompt differently once it is answered")
        texts = [self.tokenizer.decode(each) for each in (prompt[:shared], *(each[shared:] for each in dialogues))]
        return begun._replace(prompt=texts[0], completions=texts[1:], ids=(prompt, dialogues))


def _start(messages: Conversation) -> dict[str, bool]:
    return {"continue_final_message" if continues(messages) else "add_generation_prompt": True}


def _text(completion: str | Conversation) -> str:
    if not isinstance(completion, str):
        raise InputError("the prompt is text, and a completion is a list of messages")
    return completion


def _is_empty(completion: str | Conversation, fragment: bool) -> bool:
    if isinstance(completion, str):
        return not (completion if fragment else completion.strip())
    return not (fragment and any(message.get("content") for message in completion)) and all(map(is_blank, completion))
