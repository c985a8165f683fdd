"""Turns of a dialogue, found in the text that a chat template has written of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from dpo_lightning.data.formats import Conversation
from dpo_lightning.data.formats.messages import SAY
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import shared_start

Span: TypeAlias = tuple[int, int]
"""Characters of a text, from the first one to the one behind the last."""

Write: TypeAlias = Callable[[Conversation, bool], str]
"""A chat template: messages, and whether they are answered, give a text; the generation prompt ends one that is not."""

WEIGHTS = ("weight", "train", "loss")
"""Fields of a message that say whether it counts, as OpenAI's, axolotl's and ms-swift's files have them."""

_MARK = "\ue000turn\ue001"  # of a private use area: it stands in no text


class Dialogue(NamedTuple):
    """Messages, and their text.

    Attributes:
        messages: All of them, those of the prompt first.
        text: What the template has written of them.
        write: The template.
        special: The special tokens that may close a turn.
    """

    messages: Conversation
    text: str
    write: Write
    special: Sequence[str]

    def turn(self, index: int) -> Span:
        """Return where an answer stands: behind its header, its end-of-turn token included.

        The template is asked for the messages before it and up to it. Where it writes those otherwise in the whole
        dialogue, as Qwen3's leaves thoughts out of earlier turns, the answer is found by another text in its place.

        Raises:
            InputError: where the template writes neither in a way that shows the answer.
        """
        opened, closed = self.write(self.messages[:index], False), self.write(self.messages[: index + 1], True)
        start = len(opened) if self.text.startswith(opened) else self._content(index)[0]
        if index == len(self.messages) - 1:
            return start, len(self.text)
        return start, len(closed) if self.text.startswith(closed) else self._closed(self._content(index)[1])

    def _content(self, index: int) -> Span:
        """Return where what a message says stands, by what changes where it says something else."""
        said = {name: each for name, each in self.messages[index].items() if name not in SAY} | {"content": _MARK}
        whole = self.write(self.messages, True)  # `text` may end within its last message
        try:
            other = self.write([*self.messages[:index], said, *self.messages[index + 1 :]], True)
        except InputError:  # of a template that wants the call before its result
            other = ""
        if _MARK not in other or not whole.startswith(self.text):
            raise InputError(
                f"the chat template does not write message {index} of the dialogue as one turn, so what counts cannot "
                "be found: set data.scored to `completion`, or give a template with {% generation %}"
            )
        before = len(shared_start(whole, other))
        behind = len(shared_start(whole[::-1], other[::-1]))
        return before, max(before, len(whole) - behind)

    def _closed(self, end: int) -> int:
        """Return the end of the first special token behind an answer, where nothing else is in between."""
        rest = self.text[end:]
        blank = len(rest) - len(rest.lstrip())
        closing = next((token for token in self.special if rest.startswith(token, blank)), None)
        return end if closing is None else end + blank + len(closing)


def without_weights(messages: Conversation) -> Conversation:
    """Return messages without what says whether they count, which is not the template's to read."""
    return [{name: each for name, each in message.items() if name not in WEIGHTS} for message in messages]
