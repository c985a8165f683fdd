"""The lines that say how a fit went."""

from __future__ import annotations

import math

import pytest

from dpo_lightning.report.verdict import BROKEN_SHARE, FAR_SHARE, lost_share, verdict

HEALTHY = {
    "val/loss": 0.2036,
    "val/rewards/accuracies": 0.94,
    "val/rewards/margins": 2.62,
    "val/logps/chosen": -16.66,
    "val/logratios/chosen": -3.14,
    "val/logratios/rejected": -11.88,
}


def test_a_healthy_run_is_one_line_with_its_interval() -> None:
    assert verdict(HEALTHY, 300) == [
        "held-out pairs: loss 0.2036, reward accuracy 0.94 (0.91 to 0.96 at 95%, n = 300), margin 2.62, "
        "log-ratio of chosen -3.14, of rejected -11.88"
    ]


def test_lengths_make_it_a_log_ratio_of_a_token() -> None:
    (line,) = verdict({**HEALTHY, "val/lengths/chosen": 32.0, "val/lengths/rejected": 30.0})
    assert line.endswith("log-ratio of chosen -3.14 (-0.09813 a token), of rejected -11.88 (-0.396 a token)")


def test_what_a_run_does_not_have_is_not_said() -> None:
    assert verdict({}) == []
    assert verdict({"grad_norm": 1.0}, 300) == []
    assert verdict({"val/loss": 2.0}, 300) == ["held-out pairs: loss 2"]
    assert verdict({**HEALTHY, "val/rewards/accuracies": math.nan})[0].startswith("held-out pairs: loss 0.2036, margin")


def test_a_fit_without_held_out_pairs_says_so_and_is_judged_by_its_training() -> None:
    train = {name.replace("val/", "train/"): value for name, value in HEALTHY.items()}
    assert verdict(train) == ["no pairs were held out: how the policy does on others is not known; set data.val_split"]
    broken = {**train, "train/logps/chosen": -44.3, "train/logratios/chosen": -30.8}
    assert "228% of their own" in verdict(broken)[1]


@pytest.mark.parametrize(
    ("share", "said"),
    [(FAR_SHARE - 0.01, ""), (FAR_SHARE + 0.01, "may be"), (BROKEN_SHARE - 0.01, "may be"), (2.0, "is likely")],
)
def test_how_sure_the_warning_is(share: float, said: str) -> None:
    run = {**HEALTHY, "val/logratios/chosen": -20.0 * share, "val/logps/chosen": -20.0 * (1 + share)}
    assert lost_share(run, {}, "val") == pytest.approx(share)
    lines = verdict(run)
    assert len(lines) == 1 + bool(said)
    assert f"text {said} broken" in lines[-1] or not said


def test_without_a_reference_the_start_stands_for_it() -> None:
    run = {"val/loss": 0.5, "val/logps/chosen": -35.2}
    start = {"val/logps/chosen": -13.5}
    assert lost_share(run, {}, "val") is None
    assert len(verdict(run)) == 1
    assert lost_share(run, start, "val") == pytest.approx((35.2 - 13.5) / 13.5)
    assert "likely broken" in verdict(run, start=start)[1]


def test_values_that_are_not_finite_are_no_success() -> None:
    assert "not finite" in verdict({**HEALTHY, "val/loss": math.nan})[1]
    assert "not finite" in verdict({**HEALTHY, "val/logps/chosen": -math.inf})[1]
