"""Conversations through a tokenizer's chat template: as text, or as tokens where the tokenizer writes them itself."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from dpo_lightning.compat.transformers import dated, generated_spans
from dpo_lightning.data.formats import Conversation, Example
from dpo_lightning.data.formats.messages import ROLES
from dpo_lightning.data.special_tokens import writes_tokens
from dpo_lightning.data.tokenize.message_forms import forms, left_out, marked
from dpo_lightning.data.tokenize.template_dates import reads_clock, templates_of
from dpo_lightning.data.tokenize.turns import Span, without_weights
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_OTHER = "give another template in `data.chat_template`"
_GENERATION = re.compile(r"\{%[-+]?\s*generation\b")
_NAMED = re.compile(r"""["']([\w-]+)["']""")


@dataclass(frozen=True)
class ChatTemplate:
    """Fills in the chat template of a tokenizer.

    Args:
        tokenizer: A Hugging Face tokenizer.
        arguments: Further arguments of the template, such as `enable_thinking`; those of an example come before them.
        date: What the template gets when it asks for the time; None for the clock.
    """

    tokenizer: PreTrainedTokenizerBase
    arguments: Mapping[str, Any] = field(default_factory=dict)
    date: datetime.date | None = None

    @cached_property
    def writes_tokens(self) -> bool:
        """True for a tokenizer without a Jinja template, which writes tokens itself: then only `tokens` is right."""
        return writes_tokens(self.tokenizer)

    def text(self, example: Example, messages: Conversation, **how: bool) -> str:
        """Write messages as text.

        Args:
            example: Its tools and arguments go along.
            messages: The messages.
            how: `add_generation_prompt` for a prompt, `continue_final_message` for one that ends within its last text.

        Raises:
            InputError: where there is no template, or one that does not take these messages.
        """
        if self.tokenizer.chat_template is None:
            raise InputError(
                f"the rows are message lists, but tokenizer {self.tokenizer.name_or_path!r} has no chat template: "
                "give one in `data.chat_template`"
            )
        faults: list[tuple[int, str]] = []
        messages = without_weights(messages)
        from jinja2 import UndefinedError

        for form in forms(messages):
            try:
                text: str = self._apply(example, form, tokenize=False, **how)
            except Exception as error:  # a template is a program, and raises whatever it likes
                fault = f"the chat template does not take these messages: {one_line(error, 1000)}"
                faults.append((2 if isinstance(error, UndefinedError) else 1, fault))
                continue
            lacking = left_out(messages, text) or self._left_out(example, form, how)
            if lacking is None:
                return text
            faults.append((0, f"the chat template leaves out {lacking}: take it out of the rows, or {_OTHER}"))
        raise InputError(min(faults, key=itemgetter(0))[1])  # its own words before those of Jinja

    def _left_out(self, example: Example, messages: Conversation, how: Mapping[str, bool]) -> str | None:
        """Return what of a dialogue with calls is not written, by marks in it."""
        messages, marks = marked(messages)
        if not marks:
            return None
        try:
            text = self._apply(example, messages, tokenize=False, **how)
        except Exception:  # a template that refuses a text with a mark has read it
            return None
        return next((what for mark, what in marks.items() if mark not in text), None)

    def tokens(self, example: Example, messages: Conversation, **how: bool) -> list[int]:
        """Write messages as tokens, as `text` does as text."""
        try:
            form = next(forms(without_weights(messages)))
            return self._apply(example, form, tokenize=True, return_dict=False, **how)
        except Exception as error:  # of mistral-common, which checks what it gets
            raise InputError(f"the tokenizer does not take these messages: {one_line(error, 1000)}") from None

    def marked(self, example: Example, messages: Conversation) -> list[Span] | None:
        """Return the characters that the template marks as the assistant's; None where it has no `{% generation %}`."""
        if self.writes_tokens:
            return None
        tools = None if example.tools is None else list(example.tools)
        template = self.tokenizer.get_chat_template(None, tools)
        if not _GENERATION.search(template):
            return None
        arguments = {**self.tokenizer.special_tokens_map, **self.arguments, **example.template_arguments}
        text = self.text(example, messages)
        for form in forms(without_weights(messages)):
            with self.at_date():
                written, spans = generated_spans(template, form, tools, arguments)
            if written == text:
                return spans
        return None

    def check_roles(self, messages: Conversation, place: str) -> None:
        """Refuse a role of other places: one that is none of the usual, and that the template does not name.

        Raises:
            InputError: naming the place and the role.
        """
        for index, message in enumerate(messages):
            role = message["role"]
            if role not in ROLES and role not in self._named:
                raise InputError(
                    f"message {index} of {place}: role {role!r:.40} is none of {', '.join(ROLES)}, and the chat "
                    "template does not name it"
                )

    @cached_property
    def _named(self) -> frozenset[str]:
        return frozenset(name for each in templates_of(self.tokenizer) for name in _NAMED.findall(each))

    def _apply(self, example: Example, messages: Conversation, **how: bool) -> Any:
        arguments = {**self.arguments, **example.template_arguments}
        with self.at_date():
            return self.tokenizer.apply_chat_template(messages, tools=example.tools, **how, **arguments)

    def at_date(self) -> AbstractContextManager[None]:
        """Let the template get the date inside the block when it asks for the time."""
        return nullcontext() if self.date is None else dated(self._clocks, self.date)

    @cached_property
    def _clocks(self) -> list[str]:
        return [each for each in templates_of(self.tokenizer) if reads_clock(each)]
