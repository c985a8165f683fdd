"""Names of evaluation sets."""

from __future__ import annotations

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.utils.set_names import check_set_names, names_of_sets


@pytest.mark.parametrize("name", ["", " ", "a/b", " a", 3, None])
def test_what_cannot_stand_in_the_name_of_a_metric_is_refused(name):
    with pytest.raises(InputError, match=r"^data.val_split: a set cannot be named"):
        check_set_names(["good", name], "data.val_split")


@pytest.mark.parametrize(
    ("loaders", "count", "names"),
    [
        (object(), 1, ()),
        ([object()], 1, ()),
        ([object(), object()], 2, ("0", "1")),
        ({"held out": object()}, 1, ("held out",)),
        ({"a": object(), "b": [object(), object()]}, 3, ("a", "b.0", "b.1")),
        (object(), 2, ("0", "1")),
    ],
)
def test_loaders_are_named_by_their_places(loaders, count, names):
    assert names_of_sets(loaders, count) == names


def test_a_key_that_is_no_name_is_refused():
    with pytest.raises(InputError, match="the evaluation loaders: a set cannot be named 0"):
        names_of_sets({0: object(), 1: object()}, 2)
