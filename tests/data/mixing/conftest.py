"""The fit of `tests/plugin`, for runs on several sources."""

from tests.plugin.conftest import run

__all__ = ["run"]
