"""Objectives: each of the settings that both sides train in `tests/parity` is converted to the very same one."""

from __future__ import annotations

from typing import Any

import pytest
from jsonargparse import ArgumentParser

from dpo_lightning import PairedBCO, Weighted
from dpo_lightning.errors import InputError
from dpo_lightning.losses import AnyObjective
from tests.helpers.ways_over import at, callback, of_trl, said
from tests.parity.grid import FLIPPED, LOSSES, SHARED_SETTINGS, UnshiftedBCO, all_settings, is_refused, mixture, ours

# The wrapping order of both is the same, so that equal settings are equal objects.
GRID = [each for each in all_settings() if each["loss_type"] not in ("sft", "bco_pair") and not is_refused(each)]


@pytest.fixture(scope="module")
def parser() -> ArgumentParser:
    parser = ArgumentParser()
    parser.add_argument("--objective", type=AnyObjective)
    return parser


def built(parser: ArgumentParser, **fields: Any) -> Any:
    return parser.instantiate(parser.parse_object({"objective": at(of_trl(**fields), "model.objective")})).objective


def of_the_paper(objective: Any) -> Any:
    """The grid's BCO has no shift, for the comparison with TRL's."""
    return PairedBCO(objective.beta) if isinstance(objective, UnshiftedBCO) else objective


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_one_that_trains_alike(parser: ArgumentParser, name: str) -> None:
    found = built(parser, loss_type=name, **SHARED_SETTINGS)
    assert found == of_the_paper(LOSSES[name])


@pytest.mark.parametrize("settings", GRID[::7], ids=lambda each: "-".join(map(str, each.values())))
def test_divergence_tail_and_weights_are_wrapped_alike(parser: ArgumentParser, settings: dict[str, Any]) -> None:
    assert built(parser, **SHARED_SETTINGS, **settings) == ours(settings)


def test_several_losses_are_a_weighted_sum(parser: ArgumentParser) -> None:
    case = mixture(("apo_zero", "hinge"), (0.3, 1.5), 0.4, True)
    found = built(parser, **SHARED_SETTINGS, **case.settings)
    assert type(found) is type(case.objective)
    inside = found.objective.objective
    assert isinstance(inside, Weighted)
    assert [type(each) for each in inside.objectives] == [type(LOSSES["apo_zero"]), type(LOSSES["hinge"])]
    assert list(inside.weights) == [0.3, 1.5]
    assert list(built(parser, loss_type=["ipo", "sft"]).weights) == [1.0, 1.0]
    assert list(built(parser, rpo_alpha=0.2).weights) == [1.0, 0.2]


def test_the_likelihood_has_no_tail(parser: ArgumentParser) -> None:
    found = built(parser, loss_type=["sigmoid", "sft"], ld_alpha=0.4)
    assert [type(each).__name__ for each in found.objectives] == ["LDDPO", "SFT"]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"loss_type": "kto_pair"}, "loss_type"),
        ({"loss_type": "sigmod"}, "did you mean sigmoid?"),
        ({"loss_type": ["ipo"], "loss_weights": [1, 2]}, "2 weights for 1 losses"),
        ({"loss_type": "nca_pair", "f_divergence_type": "forward_kl"}, "nca_pair is no function of a margin"),
        ({"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 1.5}, "it lies between 0 and 1"),
        ({"f_divergence_type": "kl"}, "f_divergence_type: kl is none of reverse_kl"),
        ({"sync_ref_model": True, "precompute_ref_log_probs": True}, "never precomputed"),
    ],
)
def test_what_is_no_objective_is_refused(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line):
        of_trl(**fields)


def test_what_no_loss_reads_is_told() -> None:
    draft = of_trl(label_smoothing=FLIPPED, discopop_tau=0.1, f_alpha_divergence_coef=0.3)
    assert said(draft, "label_smoothing") == (
        "no effect there: TRL's sigmoid does not read it in DPO: set model.objective.label_smoothing to use it"
    )
    for name in ("discopop_tau", "f_alpha_divergence_coef"):
        assert said(draft, name).startswith("no effect there")
    assert said(of_trl(loss_type="robust", label_smoothing=FLIPPED), "label_smoothing") == ""
    assert "alpha is 1 minus it" in said(
        of_trl(f_divergence_type="alpha_divergence", f_alpha_divergence_coef=0.3), "f_alpha_divergence_coef"
    )
    assert "over the tokens" in said(of_trl(loss_type="sft"), "loss_type")
    assert said(of_trl(loss_type="sft", ld_alpha=0.5), "ld_alpha").startswith("no effect there")


def test_the_reference_is_precomputed_or_follows() -> None:
    assert at(of_trl(precompute_ref_log_probs=True), "model.reference") == {"class_path": "Precomputed"}
    draft = of_trl(sync_ref_model=True, ref_model_sync_steps=64)
    assert callback(draft, "TrustRegionReference") == {"alpha": 0.6, "every": 64}
    assert said(of_trl(ref_model_sync_steps=64), "ref_model_sync_steps") == "no effect there: sync_ref_model is not set"
