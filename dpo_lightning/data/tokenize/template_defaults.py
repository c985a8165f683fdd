"""Arguments of a chat template as defaults inside it, for a model that is served as it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

Template = TypeVar("Template", str, dict[str, str], None)


def with_defaults(template: Template, arguments: Mapping[str, Any]) -> Template:
    """Return a chat template, or several by name, in which arguments have a value where the caller gives none.

    Example:
        >>> with_defaults("{{ enable_thinking }}", {"enable_thinking": False})
        '{% if enable_thinking is not defined %}{% set enable_thinking = false %}{% endif %}{{ enable_thinking }}'
    """
    if isinstance(template, dict):
        return {name: with_defaults(each, arguments) for name, each in template.items()}
    if template is None or not arguments:
        return template
    defaults = "".join(
        f"{{% if {name} is not defined %}}{{% set {name} = {_literal(value)} %}}{{% endif %}}"
        for name, value in arguments.items()
    )
    # Chat templates are filled in with the first line break after a block taken off.
    return f"{defaults}\n{template}" if template.startswith("\n") else defaults + template


def _literal(value: Any) -> str:
    """Write a value as Jinja reads it: as JSON, but for null."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(str(name))}: {_literal(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
