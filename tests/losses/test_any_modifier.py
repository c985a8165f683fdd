"""What an objective around one of any kind says of itself."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from jsonargparse import ArgumentParser

from dpo_lightning import losses
from dpo_lightning.errors import InputError
from dpo_lightning.losses import DPO, AnyObjective, PlackettLuceDPO
from dpo_lightning.losses.any_modifier import AnyModifier, require_any
from dpo_lightning.training.examples import comparison_of
from dpo_lightning.training.lists import Lists
from tests.losses.listed import RAGGED, scores_of


@dataclass(frozen=True)
class Plain(AnyModifier):
    objective: AnyObjective


def test_what_it_does_not_change_is_the_objectives() -> None:
    lists, inside = scores_of(*RAGGED), PlackettLuceDPO(beta=0.5)
    plain = Plain(Plain(inside))
    assert plain(lists).equal(inside(lists))
    assert plain.rewards(lists).equal(inside.rewards(lists))
    assert (plain.reads, plain.reads_columns, plain.compares) == (inside.reads, inside.reads_columns, inside.compares)
    assert plain.unmodified is inside
    assert plain.observe(lists) is None
    assert isinstance(comparison_of(plain), Lists)


def test_what_is_no_objective_is_refused() -> None:
    require_any("Plain.objective", DPO())
    with pytest.raises(InputError, match=r"^Plain\.objective must be an objective, such as DPO\(\.\.\.\), got 3$"):
        require_any("Plain.objective", 3)


@pytest.mark.parametrize("outer", ["RowWeighted", "WPO", "LDDPO", "AllPairs"])
@pytest.mark.parametrize("inner", ["PerToken", "AdaptiveBeta"])
def test_a_config_takes_one_of_any_kind_inside_of_pairs(outer: str, inner: str) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--objective", type=AnyObjective)
    inside = {"class_path": f"dpo_lightning.{inner}", "init_args": {"objective": {"class_path": "dpo_lightning.DPO"}}}
    given = {"class_path": f"dpo_lightning.{outer}", "init_args": {"objective": inside}}
    found = parser.instantiate_classes(parser.parse_object({"objective": given})).objective
    assert found == getattr(losses, outer)(getattr(losses, inner)(DPO()))


def test_a_config_takes_short_names_of_what_a_subclass_declares() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--objective", type=AnyObjective)
    given = {
        "class_path": "FDivergence",
        "init_args": {
            "objective": {"class_path": "DPO", "init_args": {"beta": 0.2}},
            "divergence": {"class_path": "AlphaDivergence", "init_args": {"alpha": 0.3}},
        },
    }
    found = parser.instantiate_classes(parser.parse_object({"objective": given})).objective
    assert found == losses.FDivergence(DPO(beta=0.2), losses.AlphaDivergence(alpha=0.3))
