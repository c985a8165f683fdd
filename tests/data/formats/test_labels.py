"""Labels of single completions."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning import PreferenceDataModule
from dpo_lightning.data.formats import NoPreference, UnpairedFormat
from dpo_lightning.data.formats.labels import is_desirable, is_signed
from dpo_lightning.errors import InputError
from tests.data.common import write
from tests.helpers.tokenizers import words


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        *[(True, False), (1, 0), (1.0, 0.0), ("true", "False"), ("1", "0"), (" YES\n", "no"), ("good", "Bad")],
        *[("desirable", "undesirable"), ("👍", "👎"), ("👍🏿", "👎🏻"), ("thumbs up", "thumbs_down")],
        *[("chosen", "rejected"), ("accepted", "wrong"), ("positive", "negative"), ("Y", "n"), ("+1", "0")],
    ],
)
def test_a_label_in_words(good: Any, bad: Any) -> None:
    assert (is_desirable(good, "x"), is_desirable(bad, "x")) == (True, False)


@pytest.mark.parametrize("value", [None, -1, 2, 0.5, "maybe", "", float("nan"), [True], {}])
def test_what_is_no_label_is_named(value: Any) -> None:
    with pytest.raises(InputError, match=r"^field `label`: .* is no label: true or 1 for desirable"):
        is_desirable(value, "field `label`")


@pytest.mark.parametrize(("stars", "good"), [(5, True), ("4", True), (2.5, False), (1, False)])
def test_stars_are_compared_with_the_threshold(stars: Any, good: bool) -> None:
    assert is_desirable(stars, "x", threshold=3) is good
    with pytest.raises(NoPreference):
        is_desirable(3, "x", threshold=3)
    for other in (None, "many", True, float("nan")):
        with pytest.raises(InputError, match=r"^x: "):
            is_desirable(other, "x", threshold=3)


def test_other_words_are_said() -> None:
    assert is_desirable("Harmless ", "x", {"harmless": True}) is True
    assert is_desirable("no", "x", {"no": True}) is True


def test_labels_with_a_sign() -> None:
    assert is_signed([1, -1, 0])
    assert not is_signed([1, 0])
    assert not is_signed([-1, 3])


@pytest.mark.filterwarnings("ignore:.* are lost")
def test_with_a_sign_zero_is_no_label(tmp_path: Any, said: list[str]) -> None:
    rows = [{"prompt": "q", "completion": f"a{n}", "label": (-1, 0, 1)[n % 3]} for n in range(9)]
    data = PreferenceDataModule(write(tmp_path / "rows.jsonl", rows), words(), format=UnpairedFormat())
    data.setup()

    assert data.splits["train"]["row"][:] == [0, 2, 3, 5, 6, 8]
    assert any("dropped 3 without a preference" in line for line in said)
