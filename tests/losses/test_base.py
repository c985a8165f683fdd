"""What the kinds of objectives ask of their subclasses and of the scores."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dpo_lightning.batch import COLUMNS
from dpo_lightning.losses import Objective, PairedBCO, Reads
from dpo_lightning.losses.any_modifier import Modifier
from dpo_lightning.losses.base import baseline_of, column_of, tokens_of
from dpo_lightning.losses.scores import PairScores
from tests.losses.battery import some_scores


def test_an_own_objective_needs_its_three_members() -> None:
    class Unfinished(Objective):
        def __call__(self, scores: PairScores) -> Tensor:
            return scores.chosen_logratio

    with pytest.raises(TypeError, match="abstract"):
        Unfinished()  # type: ignore[abstract]


def test_the_columns_that_are_read_have_the_names_of_the_data() -> None:
    assert (Reads.REFERENCE | Reads.MARGIN | Reads.WEIGHT).columns == {"margin", "weight"}
    assert Reads.NOTHING.columns == frozenset()
    everything = ~Reads.NOTHING
    assert everything.columns == set(COLUMNS)


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (baseline_of, r"means over batches: give scores\.baseline"),
        (lambda scores: column_of(scores, "weight"), r"the column `weight`: give scores\.columns\['weight'\]"),
        (tokens_of, r"single tokens: give scores\.tokens"),
    ],
    ids=["baseline", "column", "tokens"],
)
def test_what_the_scores_lack_is_named(read: Callable[[PairScores], object], said: str) -> None:
    whole = some_scores()
    read(whole)

    with pytest.raises(ValueError, match=said):
        read(whole._replace(baseline=None, columns={}, tokens=None))


def test_a_modifier_passes_on_the_scores_that_it_gives() -> None:
    class Halved(Modifier):
        objective = PairedBCO(beta=0.5)

        def given(self, scores: PairScores) -> PairScores:
            half = {name: getattr(scores, name) / 2 for name in PairScores._fields[:4]}
            return scores._replace(**half)

    scores, modified = some_scores(), Halved()
    given = modified.given(scores)

    assert modified.reads == PairedBCO.reads
    assert torch.equal(modified(scores), PairedBCO(beta=0.5)(given))
    assert all(map(torch.equal, modified.rewards(scores), PairedBCO(beta=0.5).rewards(given)))
    seen, expected = modified.observe(scores), PairedBCO(beta=0.5).observe(given)
    assert seen is not None
    assert torch.equal(seen.values, expected.values)
    assert not torch.equal(modified(scores), PairedBCO(beta=0.5)(scores))
