"""How a fit went, in one or two lines: on held-out pairs, and whether its text is likely to hold together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from dpo_lightning.report.progress_line import short
from dpo_lightning.report.statistics import wilson

FAR_SHARE = 0.75
"""Share of their own nats that chosen completions may lose before the policy's text is called into question.

The measure is the chosen log-ratio over the log-prob that the reference gives the same completions: one of 14 nats that
has 25 under the policy has lost 0.8 of its own. Unlike a log-ratio per token it holds for texts of other entropy.
Measured on samples of 79 runs in the lab, every objective and some at wrong rates (`docs/reading-the-curves.md` has
the table): below 0.5 1% of the sentences are malformed in the median, as before training, and 13% at most; from 0.75 on
12% to 43%, but for SimPER's. A language model of stories, fitted to preferences at five rates, agrees: at 0.4 its words
are words, at 0.9 one in twelve is none.
"""
BROKEN_SHARE = 1.25
"""The same share where the text is called likely broken.

In the lab, 15% of the sentences to all are malformed, but for SimPER's 3%.
"""
MORE_LIKELIHOOD = "raise beta, lower the learning rate, train fewer steps, or add likelihood of the chosen (RPO, SFT)"


def verdict(
    metrics: Mapping[str, float],
    held_out: int | None = None,
    start: Mapping[str, float] | None = None,
    *,
    validates: bool = False,
) -> list[str]:
    """Return the lines that say how a fit went.

    Args:
        metrics: The last values by name, `val/...`; those of `train/...` where nothing was held out.
        held_out: Number of the examples that `val/...` are means of; without it the accuracy has no interval.
        start: Values by the same names before training, or those of `train/...` at its first log. Without a reference,
            what the chosen completions were worth to the policy is known from there alone.
        validates: Whether examples are held out; the fit may have ended before its first validation.

    Returns:
        Nothing without a value; else a line with the values of the held-out examples, or that nothing was held out, and
        a second one where the policy has gone so far that its text is likely broken.
    """
    metrics = {name: float(value) for name, value in metrics.items()}
    stage = "val" if "val/loss" in metrics else "train"
    if f"{stage}/loss" not in metrics:
        return []
    start = start or {}
    if stage == "val":
        lines = [f"held-out pairs: {', '.join(_values(metrics, held_out))}"]
    elif validates:
        lines = ["the fit ended before a validation: how the policy does on held-out pairs is not known"]
    else:
        lines = ["no pairs were held out: how the policy does on others is not known; set data.val_split"]
    warning = _broken(metrics, start, stage)
    return lines if warning is None else [*lines, warning]


def lost_share(
    metrics: Mapping[str, float], start: Mapping[str, float], stage: str, side: str = "chosen"
) -> float | None:
    """Return which share of their own nats completions have lost, below 0 where they have gained.

    Args:
        metrics: Values by name.
        start: Values before training, which stand for the reference where there is none.
        stage: `val` or `train`.
        side: `chosen` or `rejected`.

    Returns:
        None where the log-probs that it takes are not there.
    """
    name = f"logps/{side}"
    logps = metrics.get(f"{stage}/{name}", math.nan)
    logratio = metrics.get(f"{stage}/logratios/{side}")
    if logratio is None:
        logratio = logps - start.get(f"{stage}/{name}", start.get(f"train/{name}", math.nan))
    own = logratio - logps
    return -logratio / own if own > 0 and math.isfinite(logratio) else None


def _values(metrics: Mapping[str, float], held_out: int | None) -> Iterator[str]:
    yield f"loss {short(metrics['val/loss'])}"
    accuracy = metrics.get("val/rewards/accuracies", math.nan)
    if math.isfinite(accuracy):
        yield f"reward accuracy {short(accuracy)}{_range(accuracy, held_out)}"
    if "val/rewards/margins" in metrics:
        yield f"margin {short(metrics['val/rewards/margins'])}"
    words = {"chosen": "log-ratio of chosen", "rejected": "of rejected"}
    for side, word in words.items():
        if f"val/logratios/{side}" in metrics:
            yield f"{word} {short(metrics[f'val/logratios/{side}'])}{_each_token(metrics, side)}"


def _range(accuracy: float, held_out: int | None) -> str:
    if not held_out:
        return ""
    seen = wilson(min(max(accuracy, 0.0), 1.0), held_out)
    return f" ({seen.low:.2f} to {seen.high:.2f} at 95%, n = {held_out})"


def _each_token(metrics: Mapping[str, float], side: str) -> str:
    length = metrics.get(f"val/lengths/{side}", 0.0)
    return f" ({short(metrics[f'val/logratios/{side}'] / length)} a token)" if length > 0 else ""


def _broken(metrics: Mapping[str, float], start: Mapping[str, float], stage: str) -> str | None:
    values = [metrics[f"{stage}/{name}"] for name in ("loss", "logps/chosen") if f"{stage}/{name}" in metrics]
    if not all(map(math.isfinite, values)):
        return "warning: the last values are not finite, and the policy is of no use: go on from an earlier checkpoint"
    share = lost_share(metrics, start, stage)
    if share is None or share < FAR_SHARE:
        return None
    likely = "is likely" if share >= BROKEN_SHARE else "may be"
    return (
        f"warning: chosen completions have lost {share:.0%} of their own log-prob: the policy's text {likely} broken, "
        f"whatever the accuracy; read samples, and {MORE_LIKELIHOOD}"
    )
