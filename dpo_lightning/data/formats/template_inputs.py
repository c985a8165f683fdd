"""Columns of a row that its chat template reads beside the messages: tools, and arguments of the template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from dpo_lightning.data.formats.decoded import read_json
from dpo_lightning.data.formats.messages import kind, quoted, without_nulls
from dpo_lightning.errors import InputError

TOOLS, ARGUMENTS = "tools", "chat_template_kwargs"
"""Names of the two columns, as TRL has them."""

_OURS = frozenset(
    (
        *("messages", "conversation", "tools", "chat_template", "add_generation_prompt", "continue_final_message"),
        *(
            "tokenize",
            "sanitize_control_tokens",
            "padding",
            "truncation",
            "max_length",
            "return_tensors",
            "return_dict",
        ),
        *("return_assistant_tokens_mask", "tokenizer_kwargs", "strftime_now"),
    )
)
"""Arguments of `apply_chat_template` that say what is written and how, which is decided here."""


class TemplateInputs(TypedDict):
    """The fields of `Example` that only a chat template reads."""

    tools: list[Any] | None
    template_arguments: Mapping[str, Any]


def template_inputs(row: Mapping[str, Any], quote: Callable[[str], str] = str) -> TemplateInputs:
    """Read the columns `tools`, a list of definitions, and `chat_template_kwargs`, a mapping; or JSON text of one.

    Args:
        row: Columns by name.
        quote: Marks the control tokens that a text of the row spells.

    Raises:
        InputError: naming the field, for other values.
    """
    tools = _value(row, TOOLS, list, "a list of tool definitions")
    arguments = _value(row, ARGUMENTS, Mapping, "a mapping of arguments of the chat template")
    check_template_arguments(arguments or {}, f"field `{ARGUMENTS}`")
    return {"tools": quoted(tools, quote) or None, "template_arguments": arguments or {}}


def check_template_arguments(arguments: Mapping[str, Any], place: str) -> None:
    """Refuse arguments of the chat template that are not the user's to give.

    Raises:
        InputError: naming the place and the argument.
    """
    for name in arguments:
        if not isinstance(name, str) or not name.isidentifier():
            raise InputError(f"{place}: {name!r:.40} is no name of an argument")
        if name in _OURS:
            raise InputError(f"{place}: `{name}` is not the template's own: leave it out")


def _value(row: Mapping[str, Any], name: str, wanted: type, words: str) -> Any:
    value = row.get(name)
    if isinstance(value, str):
        value = read_json(name, value) if value.strip() else None
    if value is not None and not isinstance(value, wanted):
        raise InputError(f"field `{name}`: {kind(value)}, not {words}")
    return without_nulls(value)
