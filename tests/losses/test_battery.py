"""One battery over every objective."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import jaxtyping
import pytest
import torch
from torch import Tensor

from dpo_lightning import losses
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Objective, Reads
from dpo_lightning.losses.scores import PairScores
from tests.losses.battery import Pair, Row, all_rows, scores_of, some_scores, with_policy

ROWS = all_rows()
every_row = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])


def gradients(objective: Objective, scores: PairScores) -> Tensor:
    """Of the summed loss by the policy's token log-probs ``[N]``; zeros where the loss does not read one."""
    assert scores.tokens is not None
    tokens = scores.tokens.policy_logps.clone().requires_grad_()
    (by_tokens,) = torch.autograd.grad(objective(with_policy(scores, tokens)).sum(), tokens)
    return by_tokens


def moved(scores: PairScores, *, policy: float = 0.0, reference: float = 0.0, ratios: float = 0.0) -> PairScores:
    """With so many nats added to each completion, spread over its tokens."""
    tokens = scores.tokens
    assert tokens is not None
    share = (1 / tokens.lengths.double())[tokens.sequence_id]
    new = tokens._replace(
        policy_logps=tokens.policy_logps + (policy + ratios) * share,
        reference_logps=tokens.reference_logps + reference * share,
    )
    return PairScores.from_tokens(new, scores.columns)._replace(baseline=scores.baseline)


def swapped(scores: PairScores) -> PairScores:
    """Chosen for rejected."""
    chosen, rejected, *rest = scores[:6]
    return PairScores(rejected, chosen, *(rest[place] for place in (1, 0, 3, 2)), scores.columns)


def only(scores: PairScores, pair: int) -> PairScores:
    """One pair of the batch."""
    tokens = scores.tokens
    assert tokens is not None
    places = [pair, pair + len(scores.chosen_lengths)]
    kept = (tokens.sequence_id == places[0]) | (tokens.sequence_id == places[1])
    assert tokens.log_collisions is not None
    lengths = tokens.lengths[places]
    alone = tokens._replace(
        policy_logps=tokens.policy_logps[kept],
        reference_logps=tokens.reference_logps[kept],
        sequence_id=torch.arange(2).repeat_interleave(lengths),
        lengths=lengths,
        log_collisions=tokens.log_collisions[kept],
    )
    columns = {name: column[[pair]] for name, column in scores.columns.items()}
    return PairScores.from_tokens(alone, columns)._replace(baseline=scores.baseline)


@every_row
def test_values_by_hand(row: Row) -> None:
    scores = scores_of(row.pairs, row.baseline)

    assert len(row.pairs) >= 3
    assert row.objective(scores).tolist() == pytest.approx(list(row.losses), rel=1e-9, abs=1e-12)
    assert [reward[0].item() for reward in row.objective.rewards(scores)] == pytest.approx(list(row.rewards), rel=1e-9)


@every_row
def test_gradients_point_where_they_should(row: Row) -> None:
    scores = some_scores()
    sides = gradients(row.objective, scores).tensor_split([int(scores.chosen_lengths.sum())])

    for values, sign in zip(sides, row.signs, strict=True):
        assert len(values) > 3
        assert sign is None or (values.sign() == sign).all()


@every_row
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extremes_stay_finite(row: Row, size: float) -> None:
    for pair in (
        Pair(size, 0.0, 0.0, 0.0),
        Pair(0.0, size, 0.0, 0.0),
        Pair(size, size, 0.0, 0.0),
        Pair(0.0, 0.0, size, 0.0),
        Pair(0.0, 0.0, 0.0, size),
    ):
        scores = scores_of([pair], row.baseline, torch.float32)
        results = row.objective(scores), *row.objective.rewards(scores), gradients(row.objective, scores)

        assert all(result.isfinite().all() for result in results), pair


@every_row
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_scores_cost_no_more_than_their_own_rounding(row: Row, dtype: torch.dtype) -> None:
    # The log-ratio is the caller's subtraction; it is exact here, so that only the loss itself is measured.
    low = some_scores()
    low = low._replace(
        **{name: getattr(low, name).to(dtype) for name in ("policy_chosen_logps", "policy_rejected_logps")},
        reference_chosen_logps=torch.zeros(3, dtype=dtype),
        reference_rejected_logps=torch.zeros(3, dtype=dtype),
    )
    exact = low._replace(**{name: getattr(low, name).double() for name in PairScores._fields[:4]})

    losses = row.objective(low)

    torch.testing.assert_close(
        losses.double(), row.objective(exact).double(), rtol=row.low_precision, atol=row.low_precision
    )
    assert losses.dtype in (torch.float32, torch.float64)


@pytest.mark.parametrize("row", [row for row in ROWS if not row.detached], ids=lambda row: row.name)
def test_gradcheck(row: Row) -> None:
    scores = some_scores()
    assert scores.tokens is not None

    def losses(tokens: Tensor) -> Tensor:
        return row.objective(with_policy(scores, tokens))

    assert torch.autograd.gradcheck(losses, scores.tokens.policy_logps.clone().requires_grad_())


@every_row
def test_with_a_reference_only_the_log_ratios_count(row: Row) -> None:
    scores = some_scores()

    same = torch.allclose(row.objective(moved(scores, policy=-3, reference=-3)), row.objective(scores), rtol=1e-10)

    assert same == (not row.objective.reads & (Reads.LIKELIHOOD | Reads.COLLISIONS))


@every_row
def test_only_the_margin_counts_where_it_should(row: Row) -> None:
    scores = some_scores()

    same = torch.allclose(row.objective(moved(scores, ratios=1.0)), row.objective(scores), rtol=1e-10)

    assert same == row.only_margin


@pytest.mark.parametrize("row", [row for row in ROWS if row.swap is not None], ids=lambda row: row.name)
def test_swapping_the_completions_costs_the_margin(row: Row) -> None:
    assert row.swap is not None
    scores = some_scores()

    difference = row.objective(scores) - row.objective(swapped(scores))

    expected = row.swap * (scores.chosen_logratio - scores.rejected_logratio)
    torch.testing.assert_close(difference, expected, rtol=1e-10, atol=1e-12)


@every_row
def test_a_loss_depends_on_other_pairs_only_where_it_says_so(row: Row) -> None:
    scores = scores_of(row.pairs, row.baseline)

    alone = torch.cat([row.objective(only(scores, pair)) for pair in range(len(row.pairs))])

    same = torch.allclose(row.objective(scores), alone, rtol=1e-12)
    assert same == (Reads.BATCH not in row.objective.reads)


@every_row
def test_start_where_policy_and_reference_agree(row: Row) -> None:
    if Reads.REFERENCE not in row.objective.reads:
        assert row.start is None
        return
    scores = some_scores().without_difference()

    assert torch.cat(row.objective.rewards(scores)).tolist() == pytest.approx([0.0] * 6, abs=1e-12)
    if row.start is not None:
        start = [row.start] * 3 if isinstance(row.start, float) else list(row.start)
        assert row.objective(scores).tolist() == pytest.approx(start)


@every_row
def test_it_says_what_it_reads(row: Row) -> None:
    """What an objective does not name, it does without; what it names, changes its loss."""
    scores = some_scores()
    reads = row.objective.reads
    for flag, name in ((Reads.MARGIN, "margin"), (Reads.PROBABILITY, "probability"), (Reads.WEIGHT, "weight")):
        rest = {other: column for other, column in scores.columns.items() if other != name}
        if flag in reads:
            other = scores._replace(columns={**rest, name: scores.columns[name] / 2})
            assert not torch.allclose(row.objective(other), row.objective(scores)), name
        else:
            scores = scores._replace(columns=rest)
    if Reads.BASELINE not in reads:
        scores = scores._replace(baseline=None)
    if not reads & (Reads.TOKENS | Reads.COLLISIONS):
        scores = scores._replace(tokens=None)
    assert row.objective(scores).isfinite().all()
    assert (row.objective.observe(scores) is not None) == (Reads.BASELINE in reads)


def test_every_objective_has_a_row() -> None:
    exported = [getattr(losses, name) for name in losses.__all__]
    objectives = {
        kind for kind in exported if isinstance(kind, type) and issubclass(kind, Objective) and not _is_abstract(kind)
    }

    assert objectives == {type(row.objective) for row in ROWS}
    assert len({row.name for row in ROWS}) == len(ROWS)


def _is_abstract(kind: type) -> bool:
    return bool(getattr(kind, "__abstractmethods__", None))


@every_row
def test_refuses_to_broadcast(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    scores = some_scores()
    one_rejected = {name: getattr(scores, name)[:1] for name in PairScores._fields[:6] if "rejected" in name}
    if row.signs[1] == 0:  # it reads the chosen completion only
        one_rejected = {name: getattr(scores, name)[:1] for name in PairScores._fields[:4]}

    with pytest.raises(ValueError, match=r"differ in shape: \((3|1),\) and \((3|1),\)"):
        row.objective(scores._replace(**one_rejected))


@every_row
def test_every_setting_is_read(row: Row) -> None:
    """Another value of any setting is another loss of some pair."""
    tried = [scores_of(row.pairs, row.baseline), some_scores(), moved(some_scores(), policy=-9)]
    for field in fields(row.objective):  # type: ignore[arg-type]
        value = getattr(row.objective, field.name)
        if not isinstance(value, int | float):
            continue
        another = not value if isinstance(value, bool) else value * 0.8 if value else 0.1
        other: Objective = replace(row.objective, **{field.name: another})  # type: ignore[type-var]
        changed = [not torch.equal(other(scores), row.objective(scores)) for scores in tried]
        observed = [observations(other, scores) != observations(row.objective, scores) for scores in tried]
        assert any(changed) or any(observed), field.name


def observations(objective: Objective, scores: PairScores) -> list[float]:
    """What it asks the mean of, and how long that mean remembers."""
    seen = objective.observe(scores)
    return [] if seen is None else [*seen.values.tolist(), seen.momentum]


@pytest.mark.parametrize("value", [0.0, -0.1, math.nan, math.inf])
@every_row
def test_refuses_a_strength_that_is_not_positive(row: Row, value: float) -> None:
    kind = type(row.objective)
    for name in {"beta", "tau"} & {field.name for field in fields(row.objective)}:  # type: ignore[arg-type]
        with pytest.raises(InputError, match=rf"^{kind.__name__}\.{name} must be a finite number greater than 0, got"):
            replace(row.objective, **{name: value})  # type: ignore[type-var]


@pytest.mark.parametrize("value", [0.5, 1.0, -0.1, math.nan])
@pytest.mark.parametrize(
    "row", [row for row in ROWS if hasattr(row.objective, "label_smoothing")], ids=lambda row: row.name
)
def test_refuses_label_smoothing_that_erases_the_labels(row: Row, value: float) -> None:
    with pytest.raises(InputError, match=rf"^{type(row.objective).__name__}\.label_smoothing must be in "):
        replace(row.objective, label_smoothing=value)  # type: ignore[type-var, call-arg]
