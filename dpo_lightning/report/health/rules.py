"""Rules of a run's health, in one table: the condition on its values, the line, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Literal, NamedTuple

from dpo_lightning.report.health.history import CurvePoint, Watched
from dpo_lightning.report.progress_line import short
from dpo_lightning.report.verdict import FAR_SHARE, MORE_LIKELIHOOD, lost_share

_SMOOTHED = 5  # points of a curve whose median is taken: one batch is noisy
RUNAWAY = 3.0
"""Times their own nats that rejected completions may lose; healthy runs of all objectives in the lab: below 1.7."""
TOLD_APART = 0.6
"""Accuracy from which chosen and rejected completions are told apart, also on a few held-out pairs."""
FEW_EXAMPLES = 256
"""Examples of which a run's values are judged: the standard error of an accuracy is then 3% at most."""
PERFECT = 0.995
"""Accuracy on pairs that were not seen before, an error in 256, that no preferences of people have.

In the lab, where labels are exact, healthy runs have 0.97 at most. From the second epoch on, pairs are known by heart.
"""
CHANCE = (0.45, 0.55)
"""Accuracies that 256 guesses have with a probability of 0.9."""
HALF = 0.5
"""Share of the run after which it should have begun to learn: warm-up is over, the learning rate at its highest."""
UNMOVED_LOSS = 0.01
"""Share of the loss at the start by which a loss has not moved; for DPO 0.007."""
UNMOVED_LOGPS = 0.01
"""The same of the completions' own nats. A run of the lab at a thousandth of its rate ends at 0.001."""
SATURATED_LOSS = 0.01
"""Share of the loss at the start below which nothing is left of it: for DPO a margin of 5, whose sigmoid is 0.993."""
SATURATED_GRADIENT = 0.05
"""Share of the first gradients below which they move nothing; healthy runs of the lab end above 0.15."""
GROWN_GRADIENT = 5.0
"""Times the largest of the first gradients that two of the last ten have.

Healthy runs of the lab stay below 4, over all objectives. Losses with an exponential of the log-ratio grow by 10 and
more; clipping bounds what they do.
"""
DRIFT = 1.5
"""Times the length before training: the lab's objectives at their best settings stay between 0.8 and 1.3."""
FEW_SAMPLES = 16
"""Samples whose mean length is compared: fewer differ by half by chance."""
LONGER = 1.3
"""Times the length of the other completions from which a length alone may tell a pair's two apart."""
_WITHOUT_A_LENGTH = 100  # steps that stand for a share of a run whose length nobody knows

Severity = Literal["warning", "info"]


class Hint(NamedTuple):
    """A finding: the name of its rule, one line, and how serious it is."""

    name: str
    text: str
    severity: Severity


class Rule(NamedTuple):
    """A rule of a run's health.

    Attributes:
        name: Name, which is also that of its section in `docs/reading-the-curves.md`.
        reads: Names of the training's values, without `train/`; where one is absent, the rule says nothing.
        finds: Returns what is found, as the beginning of the line; None for nothing.
        remedy: What to do: the end of the line.
        severity: `warning` where the run is likely wasted, else `info`.
        unless: Names of rules whose hint says it already.
    """

    name: str
    reads: tuple[str, ...]
    finds: Callable[[Watched], str | None]
    remedy: str
    severity: Severity = "warning"
    unless: frozenset[str] = frozenset()


def hints(watched: Watched, said: Collection[str] = ()) -> Iterator[Hint]:
    """Yield what the rules find, each at most once.

    Args:
        watched: The run so far.
        said: Names of the hints that were given before.
    """
    given = set(said)
    for rule in RULES:
        said_already = rule.name in given or not given.isdisjoint(rule.unless)
        found = None if said_already or not _is_enough(watched, rule) else rule.finds(watched)
        if found is not None:
            given.add(rule.name)
            yield Hint(rule.name, f"{found}: {rule.remedy}", rule.severity)


def _is_enough(watched: Watched, rule: Rule) -> bool:
    """Return whether the run has all that a rule reads, of as many examples as it takes; 0 of them are not counted."""
    curves = [watched.history.curve(f"train/{name}") for name in rule.reads]
    return all(curve and not 0 < curve[-1].seen < FEW_EXAMPLES for curve in curves)


def _lost(watched: Watched, side: str) -> float | None:
    """Return the share of their own nats that completions have lost in training, of the last logs."""
    if len(watched.history.curve(f"train/logps/{side}")) < _SMOOTHED:
        return None
    return lost_share(watched.history.lasts(_SMOOTHED), watched.history.start(), "train", side)


def _chosen_falls(watched: Watched) -> str | None:
    history, lost = watched.history, _lost(watched, "chosen")
    margin, before = history.last("train/rewards/margins", _SMOOTHED), history.first("train/rewards/margins")
    accuracy = history.last("train/rewards/accuracies", _SMOOTHED)
    if lost is None or margin is None or before is None or lost < FAR_SHARE:
        return None
    if margin <= before or (accuracy is not None and accuracy < TOLD_APART):
        return None
    return f"chosen completions fall: {lost:.0%} of their log-prob is lost, while the margin rises to {short(margin)}"


def _runs_away(watched: Watched) -> str | None:
    chosen, rejected = (_lost(watched, side) or 0.0 for side in ("chosen", "rejected"))
    if chosen < FAR_SHARE and rejected < RUNAWAY:
        return None
    return (
        f"the policy runs away from where it began: chosen completions have lost {chosen:.1f} and rejected ones "
        f"{rejected:.1f} times their own log-prob"
    )


def _is_perfect(watched: Watched) -> str | None:
    window = _window(watched.history.curve("train/rewards/accuracies"), FEW_EXAMPLES)
    if window is None or _mean(window) < PERFECT or not watched.in_first_epoch:
        return None
    return f"every pair is told right by step {watched.step}: something gives the answer away{_by_length(watched)}"


def _by_length(watched: Watched) -> str:
    chosen, rejected = (watched.history.last(f"train/lengths/{side}") for side in ("chosen", "rejected"))
    if chosen is None or rejected is None or max(chosen, rejected) < LONGER * min(chosen, rejected):
        return ""
    return f", perhaps the length ({short(chosen)} tokens chosen, {short(rejected)} rejected)"


def _is_at_chance(watched: Watched) -> str | None:
    curve = watched.history.curve("train/rewards/accuracies")
    half = [point for point in curve if point.step > HALF * watched.step]
    window = _window(half, FEW_EXAMPLES)
    if window is None or not watched.is_past(HALF, _WITHOUT_A_LENGTH) or _is_unmoved(watched):
        return None
    held_out = [point.value for point in watched.history.curve("val/rewards/accuracies")][-1:]
    if not CHANCE[0] <= _mean(half) <= CHANCE[1] or any(each > TOLD_APART for each in held_out):
        return None
    return f"accuracy is {short(_mean(half))} after {watched.step} steps, as good as guessing"


def _is_unmoved(watched: Watched) -> bool:
    """Return whether no completion has another log-prob than before; False where that is not known."""
    lost = [_lost(watched, side) for side in ("chosen", "rejected")]
    return any(each is not None for each in lost) and all(abs(each or 0.0) < UNMOVED_LOGPS for each in lost)


def _is_stuck(watched: Watched) -> str | None:
    loss, start = watched.history.last("train/loss", _SMOOTHED), watched.start_loss
    if loss is None or start is None or not watched.is_past(HALF, _WITHOUT_A_LENGTH) or not _is_unmoved(watched):
        return None
    if abs(loss - start) > UNMOVED_LOSS * abs(start):
        return None
    return f"loss {short(loss)} is still that of the start, {short(start)}, after {watched.step} steps"


def _is_saturated(watched: Watched) -> str | None:
    history, start = watched.history, watched.start_loss
    loss, norm, first = (
        history.last("train/loss", _SMOOTHED),
        history.last("train/grad_norm", _SMOOTHED),
        history.first("train/grad_norm", _SMOOTHED),
    )
    start = history.first("train/loss") if start is None else start
    if loss is None or norm is None or first is None or start is None:
        return None
    if not 0 <= loss < SATURATED_LOSS * start or norm >= SATURATED_GRADIENT * first:
        return None
    return f"loss {short(loss)} and gradient {short(norm)} are next to nothing: these pairs are learnt"


def _grows(watched: Watched) -> str | None:
    norms = [point.value for point in watched.history.curve("train/grad_norm")]
    if watched.clips or len(norms) < 3 * _SMOOTHED:
        return None
    first, last = max(norms[:_SMOOTHED]), sorted(norms[-2 * _SMOOTHED :])
    if last[-2] < GROWN_GRADIENT * first:
        return None
    return f"gradients grow: from {short(first)} at the start to {short(last[-1])}, and nothing clips them"


def _drifts(watched: Watched) -> str | None:
    if watched.sampled is None:
        return None
    now, before, count = watched.sampled
    if count < FEW_SAMPLES or before <= 0 or before / DRIFT < now < before * DRIFT:
        return None
    return f"samples have {short(now)} words on average, {short(before)} before training"


def _loses_updates(watched: Watched) -> str | None:
    return None if watched.lost_updates is None else watched.lost_updates.partition(": ")[0]


def _window(curve: Collection[CurvePoint], examples: int) -> list[CurvePoint] | None:
    """Return the last points that are of so many examples; None where there are not as many."""
    points = list(curve)
    for index in range(len(points) - 2, -1, -1):
        if points[-1].seen - points[index].seen >= examples:
            return points[index + 1 :]
    return None


def _mean(points: list[CurvePoint]) -> float:
    return sum(point.value for point in points) / len(points)


RULES: tuple[Rule, ...] = (
    Rule(
        "updates-lost",
        (),
        _loses_updates,
        "use bf16-mixed or 32-true, adapters, or a higher learning rate",
    ),
    Rule("chosen-falls", ("logps/chosen", "rewards/margins"), _chosen_falls, MORE_LIKELIHOOD),
    Rule(
        "kl-runs-away",
        ("logps/chosen",),
        _runs_away,
        "raise beta, lower the learning rate, or train fewer steps",
        unless=frozenset(("chosen-falls",)),
    ),
    Rule(
        "accuracy-perfect",
        ("rewards/accuracies",),
        _is_perfect,
        "compare some pairs, and run `dpo-lightning inspect`",
    ),
    Rule(
        "accuracy-stuck",
        ("rewards/accuracies", "logps/chosen"),
        _is_at_chance,
        "look whether chosen and rejected are in the right columns, and how noisy the labels are",
        unless=frozenset(("chosen-falls", "kl-runs-away")),
    ),
    Rule(
        "loss-stuck",
        ("loss", "logps/chosen"),
        _is_stuck,
        "raise the learning rate; look at the trainable share and at frozen weights",
        unless=frozenset(("updates-lost",)),
    ),
    Rule(
        "saturated",
        ("loss", "grad_norm"),
        _is_saturated,
        "more steps change nothing; stop here, add data, or lower beta if the margin should grow",
        "info",
    ),
    Rule(
        "gradient-grows",
        ("grad_norm",),
        _grows,
        "set trainer.gradient_clip_val to 1, or lower the learning rate",
        unless=frozenset(("chosen-falls", "kl-runs-away")),
    ),
    Rule(
        "length-drift",
        (),
        _drifts,
        "compare the lengths of chosen and rejected; a length penalty (R-DPO) or a loss per token (LN-DPO) keeps them",
    ),
)
"""Every rule, in the order in which they are asked."""
