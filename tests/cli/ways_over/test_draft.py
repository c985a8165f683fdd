"""A draft holds our config, and what is told."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.ways_over.draft import Draft, Told
from dpo_lightning.cli.ways_over.fields import Fate, Field, Kind
from dpo_lightning.cli.ways_over.given import Given
from dpo_lightning.cli.ways_over.tree import From, plain


@pytest.fixture
def draft() -> Draft:
    fields = {name: Field(name, Kind.WHOLE, 1) for name in ("a", "own")}
    return Draft(Given(fields, {"own": 5}, {"shared": "own"}))


def test_a_key_is_written_once(draft: Draft) -> None:
    draft.put("model.optimizer.lr", From(1.0))
    draft.take("data.rows", "shared")
    draft.callback({"class_path": From("Export")})
    assert plain(draft.tree) == {
        "model": {"optimizer": {"lr": 1.0}},
        "data": {"rows": 5},
        "trainer": {"callbacks": [{"class_path": "Export"}]},
    }
    assert [draft.has(path) for path in ("data.rows", "data.rows.more", "data.other")] == [True, False, False]
    with pytest.raises(ValueError, match=r"data\.rows is written twice"):
        draft.put("data.rows", From(2))


def test_what_is_told_has_the_name_and_value_there(draft: Draft) -> None:
    draft.differs("shared", "otherwise")
    draft.nothing_there("a", "not read")
    draft.nothing_here("a", "not needed")
    assert draft.told == [
        Told(Fate.DIFFERS, "own", 5, "otherwise"),
        Told(Fate.NO_EFFECT_THERE, "a", None, "not read"),
        Told(Fate.NO_EFFECT_HERE, "a", None, "not needed"),
    ]


def test_a_field_is_refused_once(draft: Draft) -> None:
    draft.refuse("shared", "first")
    draft.refuse("shared", "second")
    assert draft.refused == [Told(Fate.REFUSED, "own", 5, "first")]
