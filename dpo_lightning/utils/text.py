"""Text for messages of one line."""

from __future__ import annotations


def one_line(text: object, most: int = 300) -> str:
    """Fold white space and keep the first characters, for an error inside another one's message.

    Args:
        text: An error, or a text. An error without words is named by its class.
        most: Characters that are kept.
    """
    folded = " ".join(str(text).split())[:most]
    return folded or (type(text).__name__ if isinstance(text, BaseException) else "")
