"""Turns of a dialogue that rows leave to the reader: texts as messages, and a prompt that a dialogue repeats."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import dropwhile
from typing import Any, Union

from dpo_lightning.data.formats.example import Conversation, Message
from dpo_lightning.errors import InputError


def asked(prompt: Union[str, Conversation]) -> Conversation:
    """Return a prompt as messages, a text as the user's."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def answer(completion: Union[str, Conversation]) -> Conversation:
    """Return a completion as messages, a text as the assistant's."""
    return [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion


def continues(prompt: Union[str, Conversation], dialogue: Conversation) -> bool:
    """Return whether the turns that two dialogues share have those of their prompt, which are then not put before them.

    White space around texts does not count. The dialogue may have a system turn that the prompt lacks, and a prompt
    of text may be any one of the user's turns.
    """
    if isinstance(prompt, str):
        return any(turn["role"] == "user" and turn.get("content", "").strip() == prompt.strip() for turn in dialogue)
    if prompt and not _is_system(prompt[0]):
        dialogue = list(dropwhile(_is_system, dialogue))
    return [*map(_stripped, dialogue[: len(prompt)])] == [*map(_stripped, prompt)]


def repeats(prompt: Any, completions: Sequence[Any]) -> bool | None:
    """Return whether text completions begin with their prompt and go on after it; None where none of them can."""
    texts = [each for each in completions if not isinstance(each, str) or each.strip()]
    if not isinstance(prompt, str) or not prompt.strip() or not all(isinstance(each, str) for each in texts):
        return None
    return all(map(partial(after, prompt), texts)) if texts else None


def after(prompt: str, completion: str) -> str | None:
    """Return a completion without the prompt that it begins with; None where it does not begin with it.

    White space at the prompt's ends does not count.
    """
    if completion.startswith(prompt):
        return completion[len(prompt) :]
    bare, text = prompt.strip(), completion.lstrip()
    if not text.startswith(bare):
        return None
    rest = text[len(bare) :]
    return rest if prompt.endswith(bare) else rest.lstrip()


def with_input(name: str, prompt: Any, input_name: str, further: Any) -> Any:
    """Return a prompt with a further text on the lines below it, where there is one.

    Raises:
        InputError: naming the column of the two that is no text.
    """
    if further is None or (isinstance(further, str) and not further.strip()):
        return prompt
    for column, text in ((name, prompt), (input_name, further)):
        if not isinstance(text, str):
            raise InputError(f"field `{column}`: not text, which a prompt of `{name}` and `{input_name}` is")
    return f"{prompt}\n{further}" if prompt.strip() else further


def _is_system(message: Message) -> bool:
    return message["role"] in ("system", "developer")


def _stripped(message: Message) -> Message:
    return {name: part.strip() if isinstance(part, str) else part for name, part in message.items()}
