"""A small model that the estimates are of."""

from __future__ import annotations

import pytest

from tests.helpers.runs import saved_model


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved_model(tmp_path_factory.mktemp("llama"), tie_word_embeddings=False)
