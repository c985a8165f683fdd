"""The works that objectives come from."""

from __future__ import annotations

from dataclasses import dataclass

from dpo_lightning.losses import DPO, IPO, LDDPO, SFT, ForwardKL, RowWeighted, Weighted
from dpo_lightning.losses.cited import cited
from tools.docs.objectives import kinds

DPO_PAPER = "Direct Preference Optimization, arXiv:2305.18290"
WITHOUT_A_PAPER = {"CPOSimPO", "RowWeighted"}


def test_an_objective_is_cited_with_those_inside_it() -> None:
    assert cited(DPO()) == [DPO_PAPER]
    assert cited(LDDPO(DPO())) == ["Length-desensitized DPO (LD-DPO), arXiv:2409.06411", DPO_PAPER]
    assert cited(RowWeighted(DPO())) == [DPO_PAPER]
    mixed = cited(Weighted((DPO(), IPO(), DPO(beta=1.0)), (1.0, 1.0, 1.0)))
    assert mixed[1:] == [DPO_PAPER, "Identity Preference Optimization, arXiv:2310.12036"]
    assert "arXiv:2411.10442" in mixed[0]


def test_what_names_no_work_is_not_cited() -> None:
    @dataclass(frozen=True)
    class Own:
        """A loss of mine."""

        inside: object = None

    assert cited(Own()) == cited(ForwardKL()) == cited(None) == cited(DPO) == []
    assert cited(Own(SFT())) == ["Supervised fine-tuning on the chosen completions, as in arXiv:2203.02155"]


def test_every_objective_is_cited_but_those_without_a_paper() -> None:
    found = {kind.__name__: cited(object.__new__(kind)) for kind in kinds()}
    assert {name for name, works in found.items() if not works} == WITHOUT_A_PAPER
