"""The objective of an axolotl config: what `rl` and its settings are here."""

from __future__ import annotations

from collections.abc import Callable

from dpo_lightning.cli.ways_over.axolotl.fields import OF_TRL_NAMES
from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.tree import From, Tree, made
from dpo_lightning.cli.ways_over.trl import objective as of_trl

_SETTINGS = (
    *("dpo_loss_type", "dpo_loss_weights", "dpo_use_weighting", "dpo_label_smoothing", "simpo_gamma", "cpo_alpha"),
    *("kto_desirable_weight", "kto_undesirable_weight", "orpo_alpha", "precompute_ref_log_probs"),
)
_READ = {
    "dpo": {
        "dpo_loss_type",
        "dpo_loss_weights",
        "dpo_use_weighting",
        "dpo_label_smoothing",
        "precompute_ref_log_probs",
    },
    "ipo": {"dpo_use_weighting", "precompute_ref_log_probs"},
    "kto": {"kto_desirable_weight", "kto_undesirable_weight"},
    "orpo": {"orpo_alpha"},
    "simpo": {"simpo_gamma", "cpo_alpha"},
}
_TOKENS = "the likelihood is a mean over the tokens of a micro-batch there, and a mean over pairs here"
_PROMPT = f"{_TOKENS}; the prompt's tokens are in it there"
_MISMATCHED = (
    "the reference point is of completions of the row before in the micro-batch there; here of other prompts, "
    "whatever the order"
)


def objective(draft: Draft) -> None:
    """Write `model.objective`, and the reference."""
    rl = draft.given["rl"]
    for name in _SETTINGS:
        if draft.given.asks(name) and name not in _READ[rl]:
            draft.nothing_there(name, f"rl: {rl} does not read it")
    _block(draft)
    _WRITERS[rl](draft)
    if rl in ("dpo", "ipo"):
        of_trl.reference(draft)


def _block(draft: Draft) -> None:
    """Tell what of `trl` only its online trainers read."""
    for name, value in (draft.given["trl"] or {}).items():
        each = OF_TRL_NAMES[name]
        if each.said and each.asks(value):
            draft.tell(each.fate, f"trl.{name}", each.said)


def _dpo(draft: Draft) -> None:
    of_trl.objective(draft)


def _ipo(draft: Draft) -> None:
    found: Tree = made("IPO", "rl", tau=draft.given.of("rl_beta"), per_token=From(True, "as TRL has it"))
    if draft.given["dpo_use_weighting"]:
        found = made("WPO", draft.given.because("dpo_use_weighting"), objective=found)
    draft.put("model.objective", found)


def _kto(draft: Draft) -> None:
    arguments: dict[str, Tree] = {"beta": draft.given.of("rl_beta")}
    for name, ours in (("kto_desirable_weight", "desirable_weight"), ("kto_undesirable_weight", "undesirable_weight")):
        if draft.given.asks(name):
            arguments[ours] = draft.given.of(name)
    draft.put("model.objective", made("KTO", "rl", **arguments))
    draft.differs("rl", _MISMATCHED)


def _orpo(draft: Draft) -> None:
    given = draft.given
    name = "rl_beta" if given.says("rl_beta") or given["orpo_alpha"] is None else "orpo_alpha"
    if name == "rl_beta" and given["orpo_alpha"] is not None:
        draft.nothing_there("orpo_alpha", "rl_beta comes before it")
    draft.put("model.objective", made("ORPO", "rl", odds_weight=given.of(name)))
    draft.differs("rl", _PROMPT)


def _simpo(draft: Draft) -> None:
    given = draft.given
    beta = given.of("rl_beta")
    if given["simpo_gamma"] is None:
        draft.refuse("simpo_gamma", "axolotl has no default for it: give a number; 0.5 is TRL's")
        return
    ratio = From(round(given["simpo_gamma"] / beta.value, 12), f"{given.because('simpo_gamma')} / {beta.comment}")
    weight = 1.0 if given["cpo_alpha"] is None else given["cpo_alpha"]
    if not weight:
        draft.put("model.objective", made("SimPO", "rl", beta=beta, gamma_beta_ratio=ratio))
        return
    nll = From(weight, given.because("cpo_alpha"))
    draft.put("model.objective", made("CPOSimPO", "rl", beta=beta, gamma_beta_ratio=ratio, nll_weight=nll))
    draft.differs("cpo_alpha", f"1 unless it says 0: this is CPO-SimPO. {_TOKENS}")


_WRITERS: dict[str, Callable[[Draft], None]] = {"dpo": _dpo, "ipo": _ipo, "kto": _kto, "orpo": _orpo, "simpo": _simpo}
