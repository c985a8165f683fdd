"""The objective and the reference of a DPO config of TRL: what is read together with `loss_type`."""

from __future__ import annotations

from collections.abc import Sequence

from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.losses import PAIRED
from dpo_lightning.cli.ways_over.tree import From, Tree, made
from dpo_lightning.utils.text import nearest

_DIVERGENCES = {
    "forward_kl": "ForwardKL",
    "js_divergence": "JensenShannon",
    "alpha_divergence": "AlphaDivergence",
}
_OF_A_MARGIN = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop")
_TOLD = {
    "sft": "the likelihood is a mean over pairs here, over the tokens of a micro-batch there",
    "bco_pair": "the paper's reward shift is subtracted here, and none there",
}
_SMOOTHING = "set model.objective.label_smoothing to use it"


def objective(draft: Draft) -> None:
    """Write `model.objective`: each loss, its divergence, their sum, and what changes the sum."""
    given = draft.given
    names = given["loss_type"]
    unknown = [name for name in names if name not in PAIRED]
    weights = given["loss_weights"] or [1.0] * len(names)
    if unknown:
        close = nearest(unknown[0], PAIRED)
        draft.refuse("loss_type", f"did you mean {close}?" if close else f"there are {', '.join(PAIRED)}")
    elif len(weights) != len(names):
        draft.refuse("loss_weights", f"{len(weights)} weights for {len(names)} losses: give one for each")
    else:
        draft.put("model.objective", _whole(draft, names, weights))
        _tell(draft, names)


def _whole(draft: Draft, names: Sequence[str], weights: Sequence[float]) -> Tree:
    given = draft.given
    parts = [_part(draft, name) for name in names]
    comments = "loss_weights"
    if given.asks("rpo_alpha"):
        parts, weights = [*parts, made("SFT", "rpo_alpha")], [*weights, given["rpo_alpha"]]
        comments = "rpo_alpha"
    found = parts[0]
    if len(parts) > 1 or weights[0] != 1:
        found = made("Weighted", "loss_type", objectives=parts, weights=From(list(weights), given.because(comments)))
    if given["ld_alpha"] is not None and not _is_likelihood(names, given.asks("rpo_alpha")):
        found = made("LDDPO", "ld_alpha", objective=found, alpha=given.of("ld_alpha"))
    if given["use_weighting"]:
        found = made("WPO", "use_weighting", objective=found)
    return found


def _is_likelihood(names: Sequence[str], added: bool) -> bool:
    """Tell whether a part of the sum has no verbose tail, so that the others are changed one by one."""
    return "sft" in names or added


def _part(draft: Draft, name: str) -> Tree:
    """Return the objective of one loss, with the divergence between policy and reference."""
    given, loss = draft.given, PAIRED[name]
    arguments: dict[str, Tree] = {ours: given.of(theirs) for theirs, ours in loss.reads}
    arguments |= {argument: From(value, f"loss_type {name}") for argument, value in loss.settings}
    divergence = given["f_divergence_type"]
    found: Tree = made(loss.name, f"loss_type {name}", **arguments)
    if divergence != "reverse_kl" and name in _OF_A_MARGIN:
        found = made("FDivergence", "f_divergence_type", objective=found, divergence=_divergence(draft, divergence))
    elif divergence != "reverse_kl" and name != "sft":
        draft.refuse("f_divergence_type", f"{name} is no function of a margin, and TRL refuses it as well")
    if given["ld_alpha"] is not None and name != "sft" and _is_likelihood(given["loss_type"], given.asks("rpo_alpha")):
        found = made("LDDPO", "ld_alpha", objective=found, alpha=given.of("ld_alpha"))
    return found


def _divergence(draft: Draft, name: str) -> Tree:
    given = draft.given
    if name != "alpha_divergence":
        return made(_DIVERGENCES[name], "f_divergence_type")
    alpha = round(1 - given["f_alpha_divergence_coef"], 12)
    if not 0 < alpha < 1:
        draft.refuse("f_alpha_divergence_coef", "it lies between 0 and 1")
    comment = f"1 - {given.because('f_alpha_divergence_coef')}"
    return made(_DIVERGENCES[name], "f_divergence_type", alpha=From(alpha, comment))


def _tell(draft: Draft, names: Sequence[str]) -> None:
    """Tell what no loss reads, and what differs."""
    given = draft.given
    read = {theirs for name in names for theirs, _ in PAIRED[name].reads}
    for name in ("beta", "label_smoothing", "discopop_tau"):
        if given.asks(name) and name not in read:
            more = f": {_SMOOTHING}" if name == "label_smoothing" and {*names} & {"sigmoid"} else ""
            draft.nothing_there(name, f"TRL's {', '.join(names)} does not read it in DPO{more}")
    for name in (name for name in names if name in _TOLD):
        draft.differs("loss_type", _TOLD[name])
    if given.asks("rpo_alpha"):
        draft.differs("rpo_alpha", _TOLD["sft"])
    _tell_of_divergence(draft, alone={*names} == {"sft"})


def _tell_of_divergence(draft: Draft, *, alone: bool) -> None:
    """Tell what a divergence changes, and what the likelihood alone does not read."""
    given = draft.given
    by_alpha = given["f_divergence_type"] == "alpha_divergence"
    if given.asks("f_alpha_divergence_coef") and not by_alpha:
        draft.nothing_there("f_alpha_divergence_coef", "only alpha_divergence reads it")
    elif given.asks("f_alpha_divergence_coef"):
        draft.differs("f_alpha_divergence_coef", "alpha is 1 minus it, as in the paper")
    if given.asks("f_divergence_type") and not alone:
        draft.differs("f_divergence_type", "rewards are logged of the divergence, and as log-ratios there")
    if alone:
        for name in ("f_divergence_type", "ld_alpha"):
            if given.asks(name):
                draft.nothing_there(name, "sft has no reference, and no shared length")


def reference(draft: Draft) -> None:
    """Write what the policy is compared with, and how it follows."""
    given = draft.given
    if given["precompute_ref_log_probs"] and {*given["loss_type"]} != {"sft"}:
        draft.put("model.reference", made("Precomputed", given.because("precompute_ref_log_probs")))
    if given["sync_ref_model"]:
        arguments = {"alpha": given.of("ref_model_mixup_alpha"), "every": given.of("ref_model_sync_steps")}
        draft.callback(made("TrustRegionReference", given.because("sync_ref_model"), **arguments))
        if given["precompute_ref_log_probs"]:
            draft.refuse("sync_ref_model", "a reference that moves is never precomputed, and TRL refuses it as well")
        return
    for name in ("ref_model_mixup_alpha", "ref_model_sync_steps"):
        if given.asks(name):
            draft.nothing_there(name, "sync_ref_model is not set")
