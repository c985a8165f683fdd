"""Errors that mean something to the user. The command prints them as one line, without a traceback, and exits 1."""

from __future__ import annotations


class DPOLightningError(Exception):
    """Base class of `InputError` and `RunError`."""


class InputError(DPOLightningError, ValueError):
    """Wrong input: a file, a row, a field, an option. The message names the place and what to do."""


class RunError(DPOLightningError, RuntimeError):
    """A run that must not go on. The message names the step, the pairs and the likely causes."""


class NotBuiltError(RunError, AttributeError):
    """A part of the model that is not there yet: absent, to `hasattr` and to tools that look through a module."""
