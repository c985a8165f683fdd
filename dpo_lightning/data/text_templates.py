r"""Text templates around plain text: fields in braces are columns of the row.

`{prompt}` and `{completion}` stand for what the format reads there. Every other name in braces is a column, or the path
to a field of one: its text must be there, and with a question mark, as in `{input?}`, null is an empty text. Two braces
on either side, `{{name}}`, are one brace of the text; other braces, as those of JSON, stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from dpo_lightning.data.column_paths import missing, required, value
from dpo_lightning.data.control_tokens import check_text
from dpo_lightning.errors import InputError

_NAME = r"[^\W\d][\w.\-]*"
_FIELD = re.compile(rf"\{{\{{({_NAME}\??)\}}\}}|\{{({_NAME})(\?)?\}}")


def fields(template: str) -> list[str]:
    """Return the names of a template's fields, in their order."""
    return [found[2] for found in _FIELD.finditer(template) if found[2]]


def fill(template: str, texts: Mapping[str, str], row: Mapping[str, Any], quote: Callable[[str], str] = str) -> str:
    """Write a template.

    Args:
        template: See above.
        texts: Texts of the fields that are no columns, such as `prompt`.
        row: Columns by name.
        quote: Marks the control tokens that the text of a column spells.

    Raises:
        InputError: naming the column, when it is missing, null or no text.
    """

    def filled(found: re.Match[str]) -> str:
        name = found[2]
        if name is None:
            return f"{{{found[1]}}}"
        return texts[name] if name in texts else quote(_text(row, name, optional=found[3] is not None))

    return _FIELD.sub(filled, template)


def _text(row: Mapping[str, Any], name: str, *, optional: bool) -> str:
    try:
        text = _optional(row, name) if optional else required(row, name)
    except InputError as error:
        raise InputError(f"{error}: a text template names {{{name}}}; {{{{{name}}}}} would be text") from None
    if not isinstance(text, str):
        raise InputError(f"field `{name}`: {type(text).__name__}, not text, and a text template has {{{name}}}")
    return check_text(text, f"field `{name}`")


def _optional(row: Mapping[str, Any], name: str) -> Any:
    found = value(row, name)
    if found is None and name.partition(".")[0] not in row:
        raise InputError(missing(row, name))
    return "" if found is None else found
