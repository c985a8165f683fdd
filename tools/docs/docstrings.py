"""Docstrings as the site's API pages read them: an extension of griffe, which mkdocstrings uses."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_ONE_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


class SessionsAsExamples(Extension):
    """Makes the section of one example one of code: Google's style knows it in the plural only."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rename the section in an object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _ONE_EXAMPLE.sub("Examples:", obj.docstring.value)
