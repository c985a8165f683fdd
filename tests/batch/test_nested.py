"""The preference batch among what a loader yields."""

from __future__ import annotations

import pytest

from dpo_lightning.batch import collate_padded, preference_batch_by, preference_batch_in
from dpo_lightning.errors import InputError
from tests.helpers.tiny import PAIRS

BATCH = collate_padded(PAIRS)


@pytest.mark.parametrize("given", [BATCH, {"a": BATCH, "b": 1}, [None, BATCH], (BATCH,), {"a": {"b": [3, BATCH]}}])
def test_the_one_is_found(given):
    assert preference_batch_in(given) is BATCH


@pytest.mark.parametrize("given", [None, {}, {"a": None}, [1, 2], "text", 3])
def test_none_is_found(given):
    assert preference_batch_in(given) is None


def test_two_need_the_hook():
    with pytest.raises(InputError, match=r"a list with 2 preference batches: override preference_batch"):
        preference_batch_in([BATCH, BATCH])


def test_a_hook_is_asked_about_other_batches_and_answers_with_one():
    assert preference_batch_by(lambda batch: batch["a"], BATCH) is BATCH
    assert preference_batch_by(lambda batch: batch["a"], {"a": BATCH, "b": BATCH}) is BATCH
    with pytest.raises(InputError, match="preference_batch returned a int"):
        preference_batch_by(lambda batch: batch["a"], {"a": 3})
