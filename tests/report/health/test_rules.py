"""Each rule on curves that are made by hand: what it says, where it begins to, and that it says nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dpo_lightning.report.health import RULES, Curves, Watched, hints
from dpo_lightning.report.health.rules import GROWN_GRADIENT, RUNAWAY
from dpo_lightning.report.verdict import FAR_SHARE

STEPS, EVERY, BATCH = 100, 5, 16
OWN = 20.0  # nats of a completion under the reference

Curve = Callable[[float], float]


def curves(chosen: Curve, rejected: Curve, **others: Curve) -> dict[str, Curve]:
    """Curves over the share of the run that is done, of a loss with a reference."""
    return {
        "loss": lambda t: math.log(2) * (1 - 0.7 * t),
        "grad_norm": lambda t: 1.0 - 0.3 * t,
        "rewards/margins": lambda t: 2 * t,
        "rewards/accuracies": lambda t: min(0.93, 0.6 + t),
        "logps/chosen": lambda t: -OWN + chosen(t),
        "logratios/chosen": chosen,
        "logps/rejected": lambda t: -OWN + rejected(t),
        "logratios/rejected": rejected,
        **{name.replace("__", "/"): curve for name, curve in others.items()},
    }


def moving(**others: Curve) -> dict[str, Curve]:
    """Curves of a healthy run."""
    return curves(lambda t: -0.2 * OWN * t, lambda t: -0.8 * OWN * t, **others)


def said(values: Mapping[str, Curve], steps: int = STEPS, **facts: Any) -> list[str]:
    """Names of the hints that a whole run gives, each asked for at every log."""
    history, given = Curves(), []
    for step in range(EVERY, steps + 1, EVERY):
        now = {f"train/{name}": curve(step / steps) for name, curve in values.items()}
        history.add(step, now, step * BATCH)
        watched = Watched(history, step, **{"steps": steps, "start_loss": math.log(2), **facts})
        given += [hint.name for hint in hints(watched, given)]
    return given


def line(name: str, values: Mapping[str, Curve], **facts: Any) -> str:
    history = Curves()
    for step in range(EVERY, STEPS + 1, EVERY):
        history.add(step, {f"train/{each}": curve(step / STEPS) for each, curve in values.items()}, step * BATCH)
    watched = Watched(history, STEPS, **{"steps": STEPS, "start_loss": math.log(2), **facts})
    return next(hint.text for hint in hints(watched) if hint.name == name)


STILL: Curve = lambda t: 0.0  # noqa: E731
PLANTED: dict[str, tuple[dict[str, Curve], dict[str, Any]]] = {
    "chosen-falls": (curves(lambda t: -1.2 * OWN * t, lambda t: -1.9 * OWN * t), {}),
    "kl-runs-away": (curves(lambda t: -0.3 * OWN * t, lambda t: -5 * OWN * t), {}),
    "accuracy-perfect": (moving(rewards__accuracies=lambda t: 1.0 if t > 0.1 else 0.8), {}),
    "accuracy-stuck": (moving(rewards__accuracies=lambda t: 0.52), {}),
    "loss-stuck": (curves(STILL, STILL, loss=lambda t: math.log(2) - 0.001, rewards__accuracies=lambda t: 0.5), {}),
    "saturated": (moving(loss=lambda t: 0.7 * 0.001**t, grad_norm=lambda t: 0.001**t), {}),
    "gradient-grows": (moving(grad_norm=lambda t: 100**t), {}),
    "length-drift": (moving(), {"sampled": (90.0, 50.0, 32)}),
    "updates-lost": (moving(), {"lost_updates": "98% of the weights stay as they are: use bf16-mixed"}),
}


def test_every_rule_has_a_planted_fault() -> None:
    assert set(PLANTED) == {rule.name for rule in RULES}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_gives_its_hint_alone(name: str) -> None:
    values, facts = PLANTED[name]
    assert said(values, **facts) == [name]


def test_a_healthy_run_gives_none() -> None:
    assert said(moving(), sampled=(55.0, 50.0, 32)) == []


@pytest.mark.parametrize("name", PLANTED)
def test_a_hint_is_one_line_with_what_to_do(name: str) -> None:
    values, facts = PLANTED[name]
    text, rule = line(name, values, **facts), next(rule for rule in RULES if rule.name == name)
    assert text.endswith(f": {rule.remedy}")
    assert "\n" not in text
    assert len(text) < 220


@pytest.mark.parametrize("name", [rule.name for rule in RULES if rule.reads])
def test_a_value_that_is_not_logged_is_not_missed(name: str) -> None:
    values, facts = PLANTED[name]
    rule = next(rule for rule in RULES if rule.name == name)
    for read in rule.reads:
        assert said({each: curve for each, curve in values.items() if each != read}, **facts) in ([], ["kl-runs-away"])


def test_a_run_that_logs_nothing_has_no_hint() -> None:
    assert said({}) == []


@pytest.mark.parametrize(("share", "expected"), [(FAR_SHARE * 0.95, []), (FAR_SHARE * 1.3, ["chosen-falls"])])
def test_how_far_chosen_completions_may_fall(share: float, expected: list[str]) -> None:
    assert said(curves(lambda t: -share * OWN * t, lambda t: -1.5 * OWN * t)) == expected


@pytest.mark.parametrize(("share", "expected"), [(RUNAWAY * 0.95, []), (RUNAWAY * 1.3, ["kl-runs-away"])])
def test_how_far_the_policy_may_run(share: float, expected: list[str]) -> None:
    assert said(curves(lambda t: 0.1 * OWN * t, lambda t: -share * OWN * t)) == expected


def test_without_a_reference_the_first_log_probs_stand_for_it() -> None:
    values = PLANTED["chosen-falls"][0]
    bare = {name: curve for name, curve in values.items() if not name.startswith("logratios")}
    assert said(bare, start_loss=None) == ["chosen-falls"]
    healthy = {name: curve for name, curve in moving().items() if not name.startswith("logratios")}
    assert said(healthy, start_loss=None) == []


def test_a_margin_that_does_not_rise_is_no_fall_of_that_kind() -> None:
    values = curves(lambda t: -1.2 * OWN * t, lambda t: -1.2 * OWN * t, rewards__margins=lambda t: 0.1 - 0.1 * t)
    assert said(values) == ["kl-runs-away"]


def test_pairs_that_are_not_told_apart_fall_together() -> None:
    values = curves(lambda t: -1.2 * OWN * t, lambda t: -1.2 * OWN * t, rewards__accuracies=lambda t: 0.58)
    assert said(values) == ["kl-runs-away"]


def test_what_is_known_by_heart_is_no_leak() -> None:
    values = PLANTED["accuracy-perfect"][0]
    assert said(values, in_first_epoch=False) == []
    assert said(moving(rewards__accuracies=lambda t: 0.99)) == []


@pytest.mark.parametrize(("rejected", "said_so"), [(30.0, True), (60.0, True), (44.0, False)])
def test_a_perfect_accuracy_is_compared_with_the_lengths(rejected: float, said_so: bool) -> None:
    lengths = {"lengths__chosen": lambda t: 45.0, "lengths__rejected": lambda t: rejected}
    values = moving(rewards__accuracies=lambda t: 1.0, **lengths)
    assert ("perhaps the length (45 tokens chosen" in line("accuracy-perfect", values)) is said_so


def test_few_examples_show_no_accuracy() -> None:
    values = moving(rewards__accuracies=lambda t: 1.0)
    assert said(values, steps=15) == []
    assert said(moving(rewards__accuracies=lambda t: 0.5), steps=25) == []


def test_a_policy_that_has_not_moved_is_stuck_and_not_at_chance() -> None:
    values = curves(STILL, STILL, loss=lambda t: math.log(2), rewards__accuracies=lambda t: 0.5)
    assert said(values) == ["loss-stuck"]
    assert said(values, start_loss=None) == []
    assert said(values, lost_updates="they are lost: do") == ["updates-lost"]


def test_a_clipped_gradient_may_grow() -> None:
    assert said(moving(grad_norm=lambda t: 100**t), clips=True) == []
    assert said(moving(grad_norm=lambda t: 1 + (GROWN_GRADIENT - 2) * t)) == []


@pytest.mark.parametrize(("spikes", "expected"), [({0.7}, []), ({0.7, 0.9}, ["gradient-grows"])])
def test_one_large_gradient_is_no_growth(spikes: set[float], expected: list[str]) -> None:
    assert said(moving(grad_norm=lambda t: 20.0 if t in spikes else 1.0)) == expected


def test_a_loss_below_zero_is_not_saturated() -> None:
    assert said(moving(loss=lambda t: -t, grad_norm=lambda t: 0.001**t), start_loss=None) == []


@pytest.mark.parametrize("sampled", [(90.0, 50.0, 4), (50.0, 0.0, 32), (70.0, 50.0, 32), (36.0, 50.0, 32)])
def test_lengths_of_few_samples_or_near_each_other_are_no_drift(sampled: tuple[float, float, int]) -> None:
    assert said(moving(), sampled=sampled) == []


def test_texts_that_get_short_drift_too() -> None:
    assert said(moving(), sampled=(20.0, 50.0, 32)) == ["length-drift"]
