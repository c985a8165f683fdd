"""The last thing that a user says in a prompt, found in its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dpo_lightning.utils.text import shared_start

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_FIRST, _ANSWER, _SECOND = "zqfirstzq", "zqanswerzq", "zqsecondzq"


class _Frame(NamedTuple):
    """Texts that a chat template writes around what a user says."""

    before: str
    behind: str


class LastTurn:
    """Finds what a user says last, by what the chat template writes around it.

    Args:
        tokenizer: The tokenizer of the run, with its chat template, if it has one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._frame = _frame(tokenizer)

    def __call__(self, prompt_ids: Sequence[int]) -> str | None:
        """Return the turn; None in a prompt that the template has not written."""
        if self._frame is None:
            return None
        text = str(self._tokenizer.decode(list(prompt_ids)))
        found = text.rfind(self._frame.before)
        if found < 0:
            return None
        turn = text[found + len(self._frame.before) :]
        end = turn.find(self._frame.behind) if self._frame.behind else -1
        return turn[: end if end >= 0 else None].strip()


def _frame(tokenizer: PreTrainedTokenizerBase) -> _Frame | None:
    """Find what stands before and behind both turns of a user in one conversation."""
    turns = [("user", _FIRST), ("assistant", _ANSWER), ("user", _SECOND)]
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        start, rest = text.split(_FIRST)
        middle, rest = rest.split(_ANSWER)
        between, end = rest.split(_SECOND)
    except Exception:  # no template, one that asks for more, or one that writes something else
        return None
    before = shared_start(start[::-1], between[::-1])[::-1].strip()
    return _Frame(before, shared_start(middle, end).strip()) if before else None
