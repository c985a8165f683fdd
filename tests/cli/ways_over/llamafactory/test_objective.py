"""What its trainers compute is what the converted objectives compute: its equations, written out here.

Source: `train/dpo/trainer.py` of LLaMA-Factory 0.9.6.dev0 and `DPOTrainer.dpo_loss` of TRL 0.24.0, which it calls with
four log-probs and no name of a loss, so that `loss_type` there is its default, sigmoid.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dpo_lightning import losses
from dpo_lightning.errors import InputError
from dpo_lightning.losses.scores import PairScores
from tests.cli.ways_over.made import config, llama_factory, told

CHOSEN, REJECTED, OF_CHOSEN, OF_REJECTED = torch.tensor(
    [[-6.0, -9.0, -3.5], [-8.0, -5.0, -7.0], [-6.5, -8.0, -4.0], [-7.0, -6.0, -6.5]], dtype=torch.float64
)
LENGTHS = torch.tensor([4, 5, 2]), torch.tensor([3, 6, 5])
SCORES = PairScores(CHOSEN, REJECTED, OF_CHOSEN, OF_REJECTED, *LENGTHS)


def built(found: dict[str, Any]) -> Any:
    """The objective of a config, without a parser."""
    given = found.get("init_args", {})
    inner = {name: [built(each) for each in value] if name == "objectives" else value for name, value in given.items()}
    return getattr(losses, found["class_path"])(**inner)


def theirs(loss: str, *, beta: float, smoothing: float = 0.0, gamma: float = 0.5, ftx: float = 0.0) -> Tensor:
    """CustomDPOTrainer.get_batch_loss_metrics, for pairs."""
    averaged = loss in ("ipo", "orpo", "simpo")
    one, other, of_one, of_other = CHOSEN, REJECTED, OF_CHOSEN, OF_REJECTED
    if averaged:
        one, other, of_one, of_other = one / LENGTHS[0], other / LENGTHS[1], of_one / LENGTHS[0], of_other / LENGTHS[1]
    if loss == "orpo":
        odds = (one - other) - (torch.log1p(-one.exp()) - torch.log1p(-other.exp()))
        found = -one - beta * logsigmoid(odds)
    elif loss == "simpo":
        found = -logsigmoid(beta * (one - other - gamma / beta))
    else:
        logits = (one - other) - (of_one - of_other)
        found = -logsigmoid(beta * logits) * (1 - smoothing) - logsigmoid(-beta * logits) * smoothing
    return found - ftx * (one if averaged else one / LENGTHS[0])


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({}, {}),
        ({"dpo_label_smoothing": 0.2}, {"smoothing": 0.2}),
        ({"pref_ftx": 0.3}, {"ftx": 0.3}),
        ({"pref_ftx": 0.3, "dpo_label_smoothing": 0.2}, {"ftx": 0.3, "smoothing": 0.2}),
        ({"pref_loss": "hinge"}, {}),
        ({"pref_loss": "kto_pair"}, {}),
        ({"pref_loss": "ipo"}, {}),
        ({"pref_loss": "orpo"}, {}),
        ({"pref_loss": "orpo", "pref_ftx": 0.5}, {"ftx": 0.5}),
        ({"pref_loss": "simpo", "simpo_gamma": 1.5}, {"gamma": 1.5}),
    ],
)
def test_losses_are_those_of_its_trainer(changes: dict[str, Any], settings: dict[str, Any]) -> None:
    draft = llama_factory(pref_beta=0.4, **changes)
    found = built(config(draft)["model"]["objective"])(SCORES)
    torch.testing.assert_close(found, theirs(changes.get("pref_loss", "sigmoid"), beta=0.4, **settings))


@pytest.mark.parametrize("name", ["hinge", "ipo", "kto_pair"])
def test_a_loss_that_was_sigmoid_is_told(name: str) -> None:
    assert "calls TRL's loss without this name" in told(llama_factory(pref_loss=name))["pref_loss"]


def test_bco_is_weighed_as_there() -> None:
    draft = llama_factory(pref_bco_weight=0.25, pref_ftx=0.1)
    found = config(draft)["model"]["objective"]["init_args"]
    assert [each["class_path"] for each in found["objectives"]] == ["DPO", "PairedBCO", "SFT"]
    assert found["weights"] == [0.8, 0.2, 0.1]
    assert "mean over the whole run" in told(draft)["pref_bco_weight"]


def test_kto() -> None:
    entry = {"file_name": "k.json", "columns": {"prompt": "q", "response": "a", "kto_tag": "good"}}
    draft = llama_factory(stage="kto", dataset_dir={"pairs": entry}, kto_rejected_weight=0.5, ld_alpha=0.5)
    objective = {"class_path": "KTO", "init_args": {"beta": 0.1, "undesirable_weight": 0.5}}
    assert config(draft)["model"]["objective"] == objective
    assert told(draft)["ld_alpha"] == "stage: kto does not read it"
    with pytest.raises(InputError, match="pref_ftx"):
        llama_factory(stage="kto", dataset_dir={"pairs": entry}, pref_ftx=1.0)


def test_length_desensitised() -> None:
    draft = llama_factory(ld_alpha=0.5)
    assert config(draft)["model"]["objective"]["class_path"] == "LDDPO"
    assert "in the policy alone there" in told(draft)["ld_alpha"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"pref_loss": "ipo", "dpo_label_smoothing": 0.1}, "dpo_label_smoothing"),
        ({"pref_loss": "simpo", "ld_alpha": 0.5}, "ld_alpha"),
    ],
)
def test_what_has_no_equal_is_refused(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=name):
        llama_factory(**changes)


def test_the_reference() -> None:
    found = config(llama_factory(ref_model="other"))["model"]["reference"]
    assert found == {"class_path": "FrozenCopy", "init_args": {"checkpoint": "other"}}
    assert "reference" not in config(llama_factory(ref_model="other", pref_loss="simpo"))["model"]
