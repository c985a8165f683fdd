"""The mean over batches that a loss reads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dpo_lightning.losses import Observation
from dpo_lightning.training.baseline import RunningMean


def observed(*values: float, momentum: float = 0.75, labels: list[bool] | None = None) -> Observation:
    return Observation(torch.tensor(values), momentum, None if labels is None else torch.tensor(labels))


def of(mean: RunningMean, observation: Observation, moves: bool = True) -> tuple[float, float]:
    baseline = mean.baseline(observation, moves=moves)
    assert baseline.batch.shape == baseline.running.shape == ()
    return baseline.batch.item(), baseline.running.item()


def test_the_first_batch_sets_it_and_the_others_move_it() -> None:
    mean = RunningMean()

    assert of(mean, observed(1.0, 3.0)) == (2.0, 2.0)
    assert of(mean, observed(10.0)) == (10.0, 0.75 * 2 + 0.25 * 10)
    assert of(mean, observed(-4.0, 0.0)) == (-2.0, 0.75 * 4 + 0.25 * -2)
    assert mean.means[0].item() == 2.5


def test_without_momentum_the_batch_counts_alone() -> None:
    mean = RunningMean()
    of(mean, observed(7.0, momentum=0.0))

    assert of(mean, observed(2.0, momentum=0.0)) == (2.0, 2.0)
    assert of(mean, observed(5.0, momentum=0.0), moves=False) == (5.0, 5.0)


def test_outside_of_training_it_is_read_and_not_moved() -> None:
    mean = RunningMean()

    assert of(mean, observed(5.0), moves=False) == (5.0, 5.0)  # nothing was trained on yet
    assert of(mean, observed(1.0)) == (1.0, 1.0)
    assert of(mean, observed(9.0), moves=False) == (9.0, 1.0)
    assert of(mean, observed(3.0)) == (3.0, 0.75 * 1 + 0.25 * 3)


def test_with_labels_it_is_the_mean_of_their_means() -> None:
    mean = RunningMean()

    # One desirable at 8, three others at 0: (8 + 0) / 2, and not 8 / 4.
    assert of(mean, observed(8.0, 0.0, 0.0, 0.0, labels=[True, False, False, False])) == (4.0, 4.0)
    # Only the mean of the label that is there moves: (8 + 0.25 x 4) / 2.
    assert of(mean, observed(4.0, labels=[False])) == (4.0, 4.5)


def test_before_a_label_was_seen_the_other_one_counts() -> None:
    mean = RunningMean()

    assert of(mean, observed(2.0, labels=[False])) == (2.0, 2.0)
    assert of(mean, observed(6.0, labels=[True])) == (6.0, 4.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_it_stays_float32(dtype: torch.dtype) -> None:
    module = nn.Module()
    module.mean = RunningMean()
    of(module.mean, observed(0.1))
    module.to(dtype)

    baseline = module.mean.baseline(Observation(torch.tensor([0.3], dtype=dtype), 0.5), moves=True)

    assert module.mean.means.dtype == baseline.running.dtype == torch.float32
    assert module.mean.means[0].item() == pytest.approx(0.2, abs=1e-3)


def test_observations_keep_no_graph() -> None:
    mean = RunningMean()
    values = torch.ones(2, requires_grad=True)

    baseline = mean.baseline(Observation(values, 0.5), moves=True)

    assert not any(tensor.requires_grad for tensor in (*baseline, mean.means))


def test_it_goes_on_from_what_was_saved() -> None:
    one, other = RunningMean(), RunningMean()
    of(one, observed(1.0, 5.0, labels=[True, False]))

    other.restore(one.saved())

    assert of(other, observed(3.0, labels=[True])) == of(one, observed(3.0, labels=[True]))


def test_what_it_was_is_kept_by_who_held_it() -> None:
    """A skipped step puts the tensors from before it back."""
    mean = RunningMean()
    of(mean, observed(1.0))
    before: dict[str, Tensor] = dict(mean.metric_state)
    of(mean, observed(float("nan")))

    for name, value in before.items():
        setattr(mean, name, value)

    assert of(mean, observed(1.0)) == (1.0, 1.0)
