"""One line for a terminal of any width, and all of it for a file."""

from __future__ import annotations

import pytest

from dpo_lightning.report.progress_line import Progress, clock, fitted_line, plain_line, short

VALUES = {"loss": 0.4123456, "margin": 1.21, "accuracy": 0.94, "val_loss": 0.3901}
MIDDLE = Progress("step", 120, 405, "epoch 1/2", VALUES, elapsed=75.9, left=180.2)


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (20, "step 120/405  1:15<3"),
        (40, "step 120/405  loss 0.4123  1:15<3:00"),
        (80, "step 120/405  epoch 1/2  loss 0.4123  margin 1.21  accuracy 0.94  1:15<3:00"),
        (
            120,
            "step 120/405  ━━━━━━━───────────────────  epoch 1/2  loss 0.4123  margin 1.21  accuracy 0.94  "
            "val_loss 0.3901  1:15<3:00",
        ),
    ],
)
def test_what_fits_is_shown_in_its_order(width: int, line: str) -> None:
    assert fitted_line(MIDDLE, width) == line


def test_no_width_is_exceeded() -> None:
    for width in range(1, 200):
        assert len(fitted_line(MIDDLE, width)) <= width


@pytest.mark.parametrize(("done", "bar"), [(0, "------"), (1, "===---"), (2, "======")])
def test_the_bar_is_what_is_done(done: int, bar: str) -> None:
    assert fitted_line(Progress("step", done, 2, "", {}, 1, None), 22, "=-") == f"step {done}/2  {bar}  0:01"


def test_without_an_end_there_is_no_bar_and_no_rest() -> None:
    assert fitted_line(Progress("step", 7, None, "", {"loss": 0.5}, 61, None), 80) == "step 7  loss 0.5  1:01"


def test_a_file_has_all_of_it() -> None:
    assert plain_line(MIDDLE._replace(values={**VALUES, "lr": 5e-7})) == (
        "step 120/405  epoch 1/2  loss 0.4123  margin 1.21  accuracy 0.94  val_loss 0.3901  lr 5e-07  1:15  3:00 left"
    )


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0:00"), (61, "1:01"), (3599.9, "59:59"), (90061, "25:01:01")])
def test_times(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.693147, "0.6931"),
        (12.345678, "12.35"),
        (5e-7, "5e-07"),
        (0.0, "0"),
        (-61.6123, "-61.61"),
        (1234567.0, "1.23e+06"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_values_are_short(value: float, text: str) -> None:
    assert short(value) == text
