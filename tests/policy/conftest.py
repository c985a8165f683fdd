"""The order of the suite, as far as its costliest fixtures ask for one."""

from __future__ import annotations

import pytest

FIRST = ("tests/policy/test_sharding.py", "tests/logprobs/test_sharing.py")
"""Each makes all its cases at once, on two processes."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with them: at the end one would keep a worker waiting, and in the middle a second worker may take a part.

    That worker would make all cases again.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))
