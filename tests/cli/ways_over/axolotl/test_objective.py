"""What `rl` and its settings are here."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_lightning.errors import InputError
from tests.cli.ways_over.made import axolotl, config, told

KTO = [{"path": "rows.jsonl", "type": "chatml.intel"}]
ORPO = [{"path": "rows.jsonl", "type": "chat_template.argilla"}]


@pytest.mark.parametrize(
    ("changes", "name", "settings"),
    [
        ({}, "DPO", {"beta": 0.1}),
        ({"rl_beta": 0.3, "dpo_label_smoothing": 0.2}, "DPO", {"beta": 0.3}),
        ({"dpo_loss_type": ["robust"], "dpo_label_smoothing": 0.2}, "RobustDPO", {"beta": 0.1, "label_smoothing": 0.2}),
        ({"rl": "ipo", "trl": {"beta": 0.4}}, "IPO", {"tau": 0.4, "per_token": True}),
        ({"rl": "orpo", "orpo_alpha": 0.2, "datasets": ORPO}, "ORPO", {"odds_weight": 0.2}),
        ({"rl": "orpo", "orpo_alpha": 0.2, "rl_beta": 0.3, "datasets": ORPO}, "ORPO", {"odds_weight": 0.3}),
        (
            {"rl": "simpo", "simpo_gamma": 1.0, "rl_beta": 2.0, "cpo_alpha": 0},
            "SimPO",
            {"beta": 2.0, "gamma_beta_ratio": 0.5},
        ),
        (
            {"rl": "simpo", "simpo_gamma": 1.0, "rl_beta": 2.0},
            "CPOSimPO",
            {"beta": 2.0, "gamma_beta_ratio": 0.5, "nll_weight": 1.0},
        ),
        (
            {"rl": "kto", "kto_undesirable_weight": 0.5, "datasets": KTO},
            "KTO",
            {"beta": 0.1, "undesirable_weight": 0.5},
        ),
    ],
)
def test_objectives(changes: dict[str, Any], name: str, settings: dict[str, Any]) -> None:
    assert config(axolotl(**changes))["model"]["objective"] == {"class_path": name, "init_args": settings}


def test_several_losses_are_weighted() -> None:
    found = config(axolotl(dpo_loss_type=["sigmoid", "sft"], dpo_loss_weights=[1.0, 0.2]))["model"]["objective"]
    assert found["class_path"] == "Weighted"
    assert found["init_args"]["weights"] == [1.0, 0.2]


def test_smoothing_had_no_effect_on_sigmoid() -> None:
    assert "does not read it" in told(axolotl(dpo_label_smoothing=0.2))["dpo_label_smoothing"]


def test_what_another_rl_reads_is_told() -> None:
    said = told(axolotl(rl="kto", simpo_gamma=0.5, precompute_ref_log_probs=True, datasets=KTO))
    assert said["simpo_gamma"] == said["precompute_ref_log_probs"] == "rl: kto does not read it"
    assert "row before" in said["rl"]


def test_simpo_without_its_margin_is_refused() -> None:
    with pytest.raises(InputError, match="simpo_gamma"):
        axolotl(rl="simpo")


def test_the_reference_is_scored_before() -> None:
    assert config(axolotl(precompute_ref_log_probs=True))["model"]["reference"] == {"class_path": "Precomputed"}
