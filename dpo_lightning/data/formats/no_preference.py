"""Rows without a preference: dropped and counted."""

from __future__ import annotations


class NoPreference(Exception):  # noqa: N818 - nothing is wrong
    """Raised by a format for a row that prefers none of its completions, such as a tie.

    The row is dropped, and the report counts it. A format that refuses such rows raises an `InputError` instead.
    """
