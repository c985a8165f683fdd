"""Two completions and a column that says which is better."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning import PreferenceDataModule
from dpo_lightning.data.formats import AlpacaEvalFormat, ComparedFormat, HelpSteerFormat, NoPreference, SHPFormat
from dpo_lightning.errors import InputError
from tests.data.common import write
from tests.helpers.tokenizers import words

ROW = {"prompt": "q", "response_1": "a", "response_2": "b"}
EVAL = {"instruction": "q", "output_1": "a", "output_2": "b"}


@pytest.mark.parametrize("strength", [-3, -1, "-2", 1.0, 3])
def test_the_sign_says_which_is_better(strength: Any) -> None:
    (example,) = HelpSteerFormat().examples({**ROW, "preference_strength": strength})
    assert example.completions == (["a", "b"] if float(strength) < 0 else ["b", "a"])


@pytest.mark.parametrize(("preference", "first"), [(1, True), (2, False), (1.2, True), ("1.9", False), (1.499, True)])
def test_annotations_lie_between_one_and_two(preference: Any, first: bool) -> None:
    (example,) = AlpacaEvalFormat().examples({**EVAL, "preference": preference})
    assert example.completions == (["a", "b"] if first else ["b", "a"])


@pytest.mark.parametrize("preference", [1.5, 0, None, float("nan")])
def test_a_tie_is_no_preference(preference: Any) -> None:
    with pytest.raises(NoPreference):
        AlpacaEvalFormat().examples({**EVAL, "preference": preference})
    with pytest.raises(InputError, match=r"^field `preference`: it prefers neither completion"):
        AlpacaEvalFormat(ties="refuse").examples({**EVAL, "preference": preference})


@pytest.mark.parametrize("preference", [3, -1, True, "first", [1], 2.01])
def test_what_says_nothing_is_refused(preference: Any) -> None:
    with pytest.raises(InputError, match=r"^field `preference`: .* does not say which completion is better: known are"):
        AlpacaEvalFormat().examples({**EVAL, "preference": preference})


def test_the_margin_is_that_of_the_chosen_one() -> None:
    row = {"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 0, "score_A": 1, "score_B": 9}

    assert SHPFormat(margin=["score_A", "score_B"]).examples(row)[0].columns == {"margin": 8.0}
    assert HelpSteerFormat(margin="preference_strength").examples({**ROW, "preference_strength": -2})[0].columns == {
        "margin": 2.0
    }


@pytest.mark.parametrize(("winner", "completions"), [("response_1", ["a", "b"]), (" Response_2", ["b", "a"])])
def test_the_name_of_a_column_says_which(winner: str, completions: list[str]) -> None:
    assert ComparedFormat().examples({**ROW, "preference": winner})[0].completions == completions
    with pytest.raises(
        InputError, match=r"^field `preference`: 'x' does not say which completion is better: known are"
    ):
        ComparedFormat().examples({**ROW, "preference": "x"})


def test_a_missing_column_is_named() -> None:
    with pytest.raises(InputError, match=r"^no column `preference_strength`"):
        HelpSteerFormat().examples(ROW)
    with pytest.raises(InputError, match=r"^ComparedFormat\.scale"):
        ComparedFormat(boundary=0, scale=[1])


@pytest.mark.filterwarnings("ignore:.* are lost")
def test_ties_are_dropped_and_counted(tmp_path: Any, said: list[str]) -> None:
    rows = [{**ROW, "preference_strength": strength} for strength in (0, 1, 0, -2, 0)]
    data = PreferenceDataModule(write(tmp_path / "rows.jsonl", rows), words())
    data.setup()

    assert data.splits["train"]["row"][:] == [1, 3]
    assert any("5 pairs, 2 kept" in line and "dropped 3 without a preference" in line for line in said)


def test_all_ties_are_refused(tmp_path: Any) -> None:
    rows = [{**ROW, "preference_strength": 0}] * 3
    data = PreferenceDataModule(write(tmp_path / "rows.jsonl", rows), words())
    with pytest.raises(InputError, match=r"no pair is left: 3 without a preference$"):
        data.setup()


@pytest.mark.parametrize(("scores", "completions"), [((0, "0.5"), ["b", "a"]), ((1, -1), ["a", "b"])])
def test_the_higher_score_is_the_better_one(scores: Any, completions: list[str]) -> None:
    read = ComparedFormat(scores=["s", "t"])
    row = {**ROW, "s": scores[0], "t": scores[1]}

    assert read.examples(row)[0].completions == completions
    with pytest.raises(NoPreference):
        read.examples({**row, "s": 2, "t": 2.0})
    with pytest.raises(InputError, match=r"^field `s`: null"):
        read.examples({**row, "s": None})
    with pytest.raises(InputError, match=r"^ComparedFormat\.scores: name two columns"):
        ComparedFormat(scores=["s"])


def test_a_number_of_a_scale_is_no_place() -> None:
    (example,) = HelpSteerFormat().examples({**ROW, "preference_strength": 1})
    assert example.completions == ["b", "a"]


@pytest.mark.parametrize(
    "settings",
    [{"preference": "p"}, {"names": ["m", "n"]}, {"verdicts": {"a": "first"}}, {"boundary": 0.0}],
)
def test_settings_of_a_preference_mean_nothing_beside_scores(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(InputError, match=rf"^ComparedFormat\.scores: `{name}` means nothing beside scores"):
        ComparedFormat(scores=["s", "t"], **settings)
    with pytest.raises(InputError, match=r"^SHPFormat\.scores: .* give the columns to ComparedFormat$"):
        SHPFormat(scores=["s", "t"])
