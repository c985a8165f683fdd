"""Learning rates of published runs pass, and those that are far off are named."""

from __future__ import annotations

import pytest

from dpo_lightning.training.usual_rates import unusual_rate, usual_rates

# Method, rate, billions of parameters, adapters: as the papers have them.
PUBLISHED = [
    ("DPO", 1e-6, 2.8, False),
    ("DPO", 5e-7, 7, False),
    ("DPO", 2e-7, 70, False),
    ("SimPO", 3e-7, 8, False),
    ("KTO", 5e-6, 8, False),
    ("ORPO", 8e-6, 2.7, False),
    ("SFT", 2e-5, 7, False),
    ("DPO", 5e-6, 7, True),
    ("DPO", 2e-4, 7, True),
    ("DPO", 7e-4, 0.0001, False),
    ("DPO", 1e-5, 0.124, False),
]


@pytest.mark.parametrize(("objective", "rate", "billions", "adapted"), PUBLISHED)
def test_what_was_published_is_usual(objective: str, rate: float, billions: float, adapted: bool) -> None:
    usual = usual_rates(objective, adapted=adapted, parameters=int(billions * 1e9))
    assert unusual_rate(rate, usual, objective, adapted=adapted) is None


@pytest.mark.parametrize(
    ("objective", "rate", "billions", "adapted", "said"),
    [
        ("DPO", 1e-6, 0.5, True, "1e-06 is 10 times below what is usual for DPO on adapters (1e-05 to 0.0002)"),
        ("DPO", 1e-6, 0.0003, True, "1e-06 is 10 times below what is usual for DPO on adapters (1e-05 up)"),
        ("DPO", 2e-4, 8, False, "0.0002 is 40 times above what is usual for DPO on all weights (2e-07 to 5e-06)"),
        ("SimPO", 1e-8, 8, False, "1e-08 is 20 times below what is usual for SimPO on all weights"),
        ("SFT", 1e-7, 8, False, "1e-07 is 10 times below what is usual for SFT on all weights (1e-06 to 2e-05)"),
        ("DPO", 3e-3, 8, True, "0.003 is 15 times above"),
        ("DPO", 1e-3, 0.124, False, "0.001 is 70 times above"),  # 5e-6 x sqrt(1 / 0.124) = 1.4e-5
    ],
)
def test_a_rate_that_is_far_off_is_named(
    objective: str, rate: float, billions: float, adapted: bool, said: str
) -> None:
    usual = usual_rates(objective, adapted=adapted, parameters=int(billions * 1e9))
    note = unusual_rate(rate, usual, objective, adapted=adapted)
    assert note is not None
    assert note.startswith(f"learning rate {said}")
    assert "model.optimizer.init_args.lr" in note
    assert "\n" not in note


def test_a_rate_of_0_is_meant() -> None:
    assert unusual_rate(0.0, usual_rates("DPO", adapted=True, parameters=10**9), "DPO", adapted=True) is None
