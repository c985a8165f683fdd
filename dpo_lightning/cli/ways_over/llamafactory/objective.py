"""The objective of a LLaMA-Factory config: what its trainers compute, as objectives of ours."""

from __future__ import annotations

from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.tree import From, Tree, made

_SILENT = {
    "hinge": ("DPO", "the hinge of log-ratios, set model.objective to Hinge"),
    "kto_pair": ("DPO", "KTO on pairs, set model.objective to KTO"),
    "ipo": ("LengthNormalizedDPO", "IPO on log-ratios per token, set model.objective to IPO with per_token: true"),
}
"""Losses that its trainer does not hand on to TRL 0.20 to 0.24, with what is computed, and what was meant."""
_NAMELESS = (
    "its trainer calls TRL's loss without this name (TRL 0.20 to 0.24), which is then sigmoid{}. "
    "This is converted; for {}"
)
_PER_TOKEN = " of log-ratios per token"
_OF_DPO = ("pref_loss", "pref_bco_weight", "simpo_gamma", "dpo_label_smoothing", "ld_alpha", "ref_model")
_OF_KTO = ("kto_chosen_weight", "kto_rejected_weight")
_MISMATCHED = (
    "the reference point is of the completion of the row before in its file there; here of other prompts of the batch"
)
_LEAST = 1e-6  # below, its trainers leave a term out


def objective(draft: Draft) -> None:
    """Write `model.objective`, and the reference."""
    given = draft.given
    dpo = given["stage"] == "dpo"
    for name in _OF_KTO if dpo else _OF_DPO:
        if given.asks(name):
            draft.nothing_there(name, f"stage: {given['stage']} does not read it")
    if not dpo:
        _kto(draft)
    else:
        _check(draft)
        draft.put("model.objective", _summed(draft, _paired(draft)))
        _reference(draft)


def _check(draft: Draft) -> None:
    given = draft.given
    if given["dpo_label_smoothing"] > _LEAST and given["pref_loss"] != "sigmoid":
        draft.refuse("dpo_label_smoothing", "of pref_loss: sigmoid alone, and LLaMA-Factory refuses it as well")
    if given.asks("simpo_gamma") and given["pref_loss"] != "simpo":
        draft.nothing_there("simpo_gamma", "pref_loss: simpo alone reads it")
    if given["pref_loss"] in ("orpo", "simpo"):
        for name in ("pref_bco_weight", "ref_model", "ld_alpha"):
            if given.asks(name) and name != "ld_alpha":
                draft.nothing_there(name, f"{given['pref_loss']} has no reference")
        if given["ld_alpha"] is not None:
            draft.refuse("ld_alpha", f"not here with {given['pref_loss']}, whose likelihood is per token: leave it out")


def _paired(draft: Draft) -> Tree:
    """Return the objective of `pref_loss`."""
    given = draft.given
    name, beta, said = given["pref_loss"], given.of("pref_beta"), given.because("pref_loss")
    if name == "orpo":
        return made("ORPO", said, odds_weight=beta)
    if name == "simpo":
        ratio = From(round(given["simpo_gamma"] / given["pref_beta"], 12), given.because("simpo_gamma", "pref_beta"))
        return made("SimPO", said, beta=beta, gamma_beta_ratio=ratio)
    found = _with_reference(draft, name, beta, said)
    if given["ld_alpha"] is not None:
        found = made("LDDPO", given.because("ld_alpha"), objective=found, alpha=given.of("ld_alpha"))
        draft.differs("ld_alpha", given.fields["ld_alpha"].said)
    return found


def _with_reference(draft: Draft, name: str, beta: From, said: str) -> Tree:
    given = draft.given
    if name in _SILENT:
        ours, meant = _SILENT[name]
        draft.nothing_there("pref_loss", _NAMELESS.format(_PER_TOKEN if name == "ipo" else "", meant))
        return made(ours, f"pref_loss {name}, which is sigmoid there", beta=beta)
    smoothing: dict[str, Tree] = {}
    if given["dpo_label_smoothing"] > _LEAST:
        smoothing = {"label_smoothing": given.of("dpo_label_smoothing")}
    return made("DPO", said, beta=beta, **smoothing)


def _summed(draft: Draft, first: Tree) -> Tree:
    """Return the sum with the likelihood of `pref_ftx` and with BCO."""
    given = draft.given
    parts: list[Tree] = [first]
    weights: list[float] = [1.0]
    bco = given["pref_bco_weight"]
    if bco > _LEAST and given["pref_loss"] not in ("orpo", "simpo"):
        parts.append(made("PairedBCO", given.because("pref_bco_weight"), beta=given.of("pref_beta")))
        weights = [round(1 / (1 + bco), 12), round(bco / (1 + bco), 12)]
    if given["pref_ftx"] > _LEAST:
        parts.append(made("SFT", given.because("pref_ftx")))
        weights.append(given["pref_ftx"])
    if len(parts) == 1:
        return first
    names = [name for name in ("pref_bco_weight", "pref_ftx") if given.asks(name)]
    return made("Weighted", given.because(*names), objectives=parts, weights=From(weights, given.because(*names)))


def _reference(draft: Draft) -> None:
    given = draft.given
    if given["ref_model"] is not None and given["pref_loss"] not in ("orpo", "simpo"):
        draft.put("model.reference", made("FrozenCopy", given.because("ref_model"), checkpoint=given.of("ref_model")))


def _kto(draft: Draft) -> None:
    given = draft.given
    arguments: dict[str, Tree] = {"beta": given.of("pref_beta")}
    for name, ours in (("kto_chosen_weight", "desirable_weight"), ("kto_rejected_weight", "undesirable_weight")):
        if given.asks(name):
            arguments[ours] = given.of(name)
    draft.put("model.objective", made("KTO", given.because("stage"), **arguments))
    draft.differs("stage", _MISMATCHED)
    if given["pref_ftx"] > _LEAST:
        draft.refuse("pref_ftx", "KTO has no likelihood term here: leave it out")
