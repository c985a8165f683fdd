"""Length-normalised DPO counts nats per token."""

from __future__ import annotations

import torch

from dpo_lightning.losses import DPO, LengthNormalizedDPO
from tests.losses.battery import some_scores


def test_a_completion_twice_as_long_with_twice_the_log_ratio_counts_as_much() -> None:
    scores = some_scores()
    longer = scores._replace(
        policy_chosen_logps=scores.reference_chosen_logps + 2 * scores.chosen_logratio,
        chosen_lengths=2 * scores.chosen_lengths,
    )

    torch.testing.assert_close(LengthNormalizedDPO()(longer), LengthNormalizedDPO()(scores), rtol=1e-12, atol=0)


def test_of_equal_lengths_it_is_dpo_with_a_share_of_beta() -> None:
    five = torch.full((3,), 5)
    scores = some_scores()._replace(chosen_lengths=five, rejected_lengths=five)
    normalized, plain = LengthNormalizedDPO(beta=5.0), DPO(beta=1.0)

    torch.testing.assert_close(normalized(scores), plain(scores), rtol=1e-12, atol=0)
    torch.testing.assert_close(normalized.rewards(scores), plain.rewards(scores), rtol=1e-12, atol=0)
