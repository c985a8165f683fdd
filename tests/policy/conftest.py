"""A saved model that the tests of the policy load."""

from __future__ import annotations

import pytest

from tests.helpers.tiny import tiny_llama


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A saved model, for reading only."""
    path = tmp_path_factory.mktemp("llama")
    tiny_llama().save_pretrained(path)
    return str(path)
