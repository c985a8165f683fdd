"""The fit of `tests/plugin`, for runs on streams."""

from tests.plugin.conftest import run

__all__ = ["run"]
