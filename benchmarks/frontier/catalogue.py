"""All objectives with the settings that suit the lab's short completions, for the frontier.

To add one, add an `Entry` to `CATALOGUE`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, cast

from lightning.pytorch import Callback

from dpo_lightning.callbacks import BEMAReference, EMAReference, TrustRegionReference
from dpo_lightning.data import Format, RowFormat, ScoredListFormat, ScoredPairsFormat, UnpairedFormat
from dpo_lightning.losses import (
    CPO,
    DPO,
    DPOP,
    EXO,
    IPO,
    KTO,
    LDDPO,
    NCA,
    ORPO,
    QRPO,
    RPO,
    SFT,
    SPPO,
    TPO,
    WPO,
    AdaptiveBeta,
    AllPairs,
    AlphaDivergence,
    AlphaPO,
    AnyObjective,
    AOTPaired,
    AOTUnpaired,
    APODown,
    APOZero,
    APOZeroUnpaired,
    BetaDPO,
    CalDPO,
    ChiPO,
    CPOSimPO,
    DiscoPOP,
    DistilledDPO,
    FDivergence,
    ForwardKL,
    Hinge,
    JensenShannon,
    LengthNormalizedDPO,
    LengthRegularizedDPO,
    PairedBCO,
    PerToken,
    PlackettLuceDPO,
    RewardAwareKL,
    RewardAwareSquared,
    RobustDPO,
    RowWeighted,
    SimPER,
    SimPO,
    SoftLabelDPO,
    UnpairedBCO,
    Weighted,
)

LEARNING_RATE = 7e-4
"""Peak of AdamW's learning rate, that of the quickstart; large, since the model is small."""


@dataclass(frozen=True)
class Entry:
    """An objective as the frontier trains it.

    Args:
        name: What the table and the picture call it.
        family: One of `FAMILIES`.
        objective: The loss with its settings; None for a policy that is not trained, `START`.
        why: Where the settings come from, when not from the paper.
        format: What is read of the lab's rows.
        learning_rate: Peak of AdamW's learning rate.
        completions: Completions of a prompt, for lists; None for pairs. Lists are as many fewer as they are longer, in
            the run and in a step, so that every entry is trained on as many sampled completions.
        callback: Makes a callback of the Trainer, for what is no loss.
    """

    name: str
    family: str
    objective: AnyObjective | None
    why: str = ""
    format: Format = RowFormat()  # noqa: RUF009 - frozen
    learning_rate: float = LEARNING_RATE
    completions: int | None = None
    callback: Callable[[], Callback] | None = None

    def settings(self) -> dict[str, Any]:
        """Return the settings that a result depends on, in the types of JSON."""
        if self.objective is None:
            return {"objective": None}
        return {
            "objective": repr(self.objective),
            "format": _set_in(self.format),
            "learning_rate": self.learning_rate,
            "callback": None if self.callback is None else repr(self.callback),
            **({} if self.completions is None else {"completions": self.completions}),
        }

    def callbacks(self) -> list[Callback]:
        """Make new callbacks for a Trainer."""
        return [] if self.callback is None else [self.callback()]


def _set_in(row_format: Format) -> str:
    """Show a format without what is at its default, so that a new option of formats makes no run another one."""
    given = ((field, getattr(row_format, field.name)) for field in fields(row_format))
    told = (f"{field.name}={value!r}" for field, value in given if value != field.default)
    return f"{type(row_format).__name__}({', '.join(told)})"


START = Entry("starting policy", "", None)
"""The policy that all others start from, as it is; in no family, and not in the catalogue."""

FAMILIES = (
    "logistic",
    "squared",
    "other divergence",
    "anchored",
    "with likelihood",
    "no reference",
    "unpaired",
    "reward column",
    "modified",
    "moving reference",
    "lists of four",
)

# Completions of the lab have 15 nats, those that the papers train on hundreds: what a log-ratio is multiplied with is
# larger here. DPO's is the best of its sweep on seed 100, which the page does not show; whatever has the same scale
# takes the same.
_BETA = 0.3
# A squared loss pulls the margin to 1 / (2 tau); IPO's is the best of its sweep, too.
_TAU = 0.03
_SLOW = 1e-4
_MARGIN = RowFormat(margin=["chosen_reward", "rejected_reward"])
_SCALE = "DPO's scale"
_MOVES = "DPO's quickstart scale: each of the three moves of the reference lets the policy go as far again"
_TARGET = "IPO's target"
_STAY = "nothing but a small learning rate keeps the policy near where it began"


def _of_four(name: str, objective: AnyObjective, why: str, reads: Format | None = None) -> Entry:
    reads = reads or ScoredListFormat(score="true_rewards")
    return Entry(name, "lists of four", objective, why, reads, completions=4)


CATALOGUE: tuple[Entry, ...] = (
    Entry("DPO", "logistic", DPO(_BETA), "best of the sweep"),
    Entry("cDPO", "logistic", DPO(_BETA, label_smoothing=0.1), _SCALE),
    Entry(
        "robust DPO",
        "logistic",
        RobustDPO(_BETA, 0.01),
        "DPO's scale; the lab flips no label, and at 0.1 the margin runs away",
    ),
    Entry("hinge", "logistic", Hinge(_BETA), _SCALE),
    Entry("EXO", "logistic", EXO(_BETA), _SCALE),
    Entry(
        "DiscoPOP",
        "logistic",
        DiscoPOP(_BETA, tau=_BETA),
        "DPO's scale, and tau = beta as in the paper; at the paper's 0.05 a pair at its start is pushed the wrong way",
    ),
    Entry("β-DPO", "logistic", BetaDPO(_BETA), _SCALE),
    Entry("R-DPO", "logistic", LengthRegularizedDPO(_BETA), _SCALE),
    Entry("LN-DPO", "logistic", LengthNormalizedDPO()),
    Entry("AOT paired", "logistic", AOTPaired(_BETA), _SCALE),
    Entry("AOT unpaired", "logistic", AOTUnpaired(1.0), "the quickstart's; at DPO's scale it goes four times as far"),
    Entry("IPO", "squared", IPO(_TAU), "best of the sweep"),
    Entry("IPO per token", "squared", IPO(1.0, per_token=True), "IPO's target over 30 tokens"),
    Entry("SPPO", "squared", SPPO(_TAU), _TARGET),
    Entry("Cal-DPO", "squared", CalDPO(_TAU), _TARGET),
    Entry("χPO", "other divergence", ChiPO(_BETA), _SCALE),
    Entry("f-DPO, Jensen-Shannon", "other divergence", FDivergence(DPO(_BETA), JensenShannon()), _SCALE),
    Entry("f-DPO, forward KL", "other divergence", FDivergence(DPO(_BETA), ForwardKL()), _SCALE),
    Entry("f-DPO, α = 0.5", "other divergence", FDivergence(DPO(_BETA), AlphaDivergence(0.5)), _SCALE),
    Entry("NCA", "anchored", NCA(_BETA), _SCALE),
    Entry("BCO", "anchored", PairedBCO(_BETA), _SCALE),
    Entry("APO zero", "anchored", APOZero(_BETA), _SCALE),
    Entry(
        "APO down",
        "anchored",
        APODown(_BETA),
        "DPO's scale; made for chosen completions worse than the policy's, it lowers these better ones too, and "
        "at the others' learning rate breaks the text: true reward -2, KL 49",
        learning_rate=_SLOW,
    ),
    Entry("RPO", "with likelihood", RPO(_BETA), _SCALE),
    Entry(
        "DPOP",
        "with likelihood",
        DPOP(_BETA, penalty=5.0),
        "the smallest penalty that the paper tries: at 50 nothing moves",
    ),
    Entry("SimPER", "no reference", SimPER()),
    Entry("SFT", "no reference", SFT()),
    Entry("SimPO", "no reference", SimPO(), _STAY, learning_rate=_SLOW),
    Entry("AlphaPO", "no reference", AlphaPO(), _STAY, learning_rate=_SLOW),
    Entry("CPO", "no reference", CPO(_BETA), _SCALE),
    Entry("CPO-SimPO", "no reference", CPOSimPO(), _STAY, learning_rate=_SLOW),
    Entry("ORPO", "no reference", ORPO()),
    Entry("KTO", "unpaired", KTO(_BETA), _SCALE, UnpairedFormat()),
    Entry("BCO, unpaired", "unpaired", UnpairedBCO(_BETA), _SCALE, UnpairedFormat()),
    Entry("APO-zero, unpaired", "unpaired", APOZeroUnpaired(_BETA), _SCALE, UnpairedFormat()),
    Entry("soft-label DPO", "reward column", SoftLabelDPO(_BETA), _SCALE, RowFormat(probability="chosen_probability")),
    Entry("distilled DPO", "reward column", DistilledDPO(_BETA), _SCALE, _MARGIN),
    Entry(
        "reward-aware, KL",
        "reward column",
        RewardAwareKL(_BETA),
        f"{_SCALE}; soft-label DPO but for a constant",
        _MARGIN,
    ),
    Entry(
        "reward-aware, squared", "reward column", RewardAwareSquared(_BETA), f"{_SCALE}; half of distilled DPO", _MARGIN
    ),
    Entry("LD-DPO", "modified", LDDPO(DPO(_BETA)), _SCALE),
    Entry("WPO", "modified", WPO(DPO(_BETA)), _SCALE),
    Entry("row-weighted DPO", "modified", RowWeighted(DPO(_BETA)), _SCALE, RowFormat(weight="chosen_probability")),
    Entry(
        "MPO",
        "modified",
        Weighted((DPO(_BETA), PairedBCO(_BETA), SFT()), (0.8, 0.2, 1.0)),
        f"{_SCALE}; weights of MPO, arXiv:2411.10442",
    ),
    Entry("TR-DPO, hard", "moving reference", DPO(1.0), _MOVES, callback=partial(TrustRegionReference, 1.0, every=64)),
    Entry("TR-DPO, soft", "moving reference", DPO(1.0), _MOVES, callback=partial(TrustRegionReference, 0.6, every=64)),
    Entry("EMA reference", "moving reference", DPO(1.0), _MOVES, callback=partial(EMAReference, 0.99)),
    Entry("BEMA reference", "moving reference", DPO(1.0), _MOVES, callback=partial(BEMAReference, every=64)),
    _of_four("best against worst", DPO(_BETA), _SCALE, ScoredPairsFormat(score="true_rewards")),
    _of_four("Plackett-Luce DPO", PlackettLuceDPO(_BETA), _SCALE),
    _of_four("Plackett-Luce DPO, adaptive beta", AdaptiveBeta(PlackettLuceDPO(_BETA)), _SCALE),
    _of_four("all pairs", AllPairs(DPO(_BETA)), _SCALE),
    _of_four("all pairs, weighted", AllPairs(DPO(_BETA), weighted=True), _SCALE),
    _of_four("β-DPO on all pairs", AllPairs(BetaDPO(_BETA)), _SCALE),
    _of_four(
        "QRPO",
        QRPO(0.1),
        "the scale of quantiles",
    ),
    _of_four("TPO", TPO(_BETA), _SCALE),
    _of_four("Plackett-Luce per token", PerToken(PlackettLuceDPO(5.0)), "LN-DPO's"),
)


def _sweep(name: str, setting: str, values: tuple[float, ...]) -> tuple[Entry, ...]:
    """Vary a setting of an entry's objective."""
    entry = next(entry for entry in CATALOGUE if entry.name == name)
    objectives = (replace(cast(Any, entry.objective), **{setting: value}) for value in values)
    return tuple(
        replace(entry, name=f"{name}, {setting} {value:g}", objective=objective)
        for value, objective in zip(values, objectives, strict=True)
    )


SWEEPS: dict[str, tuple[Entry, ...]] = {
    "DPO": _sweep("DPO", "beta", (0.03, 0.1, 0.3, 1.0, 3.0)),
    "IPO": _sweep("IPO", "tau", (0.01, 0.03, 0.1, 0.3)),
    "SimPO": _sweep("SimPO", "beta", (1.0, 2.0, 5.0, 10.0, 20.0)),
    "KTO": _sweep("KTO", "beta", (0.03, 0.1, 0.3, 1.0, 3.0)),
}
