"""Loss and gradient of an objective against the log-ratio, as a small picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpo_lightning.losses import (
    DPO,
    SFT,
    FDivergence,
    ForwardKL,
    ListObjective,
    Objective,
    UnpairedObjective,
    Weighted,
)
from dpo_lightning.losses.scores import Baseline, ListScores, PairScores, TokenScores, UnpairedScores

_TOKENS = 20
_PER_TOKEN = -1.0
_MOVES = torch.linspace(-19.5, 19.5, 157)
_LISTED = 4
_NEAR, _EXPLODED = 6.0, 100.0
_COLORS = ("tab:blue", "tab:red")


def draw(kind: type, path: Path) -> None:
    """Draw an objective with its defaults; a modifier around DPO, a mixture with SFT.

    Args:
        kind: The class.
        path: The PNG file.
    """
    from matplotlib.figure import Figure

    objective: Any = _instance(kind)
    figure = Figure(figsize=(3.0, 1.9), layout="constrained")
    axes = figure.subplots()
    slopes = axes.twinx()
    for side, color in enumerate(_COLORS):
        moves = _MOVES.double().requires_grad_()
        losses = torch.cat([_loss(objective, move, side) for move in moves])
        (gradient,) = torch.autograd.grad(losses.sum(), moves)
        axes.plot(_MOVES, losses.detach(), color=color, linewidth=1.3)
        slopes.plot(_MOVES, gradient, color=color, linewidth=0.9, linestyle="--")
    for lines in (axes, slopes):
        _cut_explosions(lines)
    for side_axes, label in ((axes, "loss"), (slopes, "gradient")):
        side_axes.tick_params(labelsize=6)
        side_axes.set_ylabel(label, fontsize=6)
    axes.set_xlabel("log-ratio (nats)", fontsize=6)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130, format="png", metadata={"Software": None})


def _cut_explosions(axes: Any) -> None:
    """Show what happens near the start where exponentials would hide it."""
    values = torch.stack([torch.as_tensor(line.get_ydata()) for line in axes.lines])
    inner = values[:, _MOVES.abs() <= _NEAR]
    if values.abs().max() > _EXPLODED * inner.abs().max():
        room = 0.05 * (inner.max() - inner.min())
        axes.set_ylim(float(inner.min() - room), float(inner.max() + room))


def _instance(kind: type) -> Any:
    examples = {FDivergence: FDivergence(DPO(), ForwardKL()), Weighted: Weighted([DPO(), SFT()], [1.0, 1.0])}
    if kind in examples:
        return examples[kind]
    return kind(DPO()) if "objective" in {field.name for field in dataclasses.fields(kind)} else kind()


def _loss(objective: Any, move: Tensor, side: int) -> Tensor:
    if isinstance(objective.unmodified, UnpairedObjective):
        return objective(_unpaired(move, side == 0))
    if isinstance(objective, ListObjective):
        return objective(_listed(move, 0 if side == 0 else _LISTED - 1))
    assert isinstance(objective.unmodified, Objective)
    return objective(_pair(move, side))


def _pair(move: Tensor, side: int) -> PairScores:
    """Make a pair in which one completion's tokens have moved together."""
    at_rest = torch.full((2 * _TOKENS,), _PER_TOKEN, dtype=torch.float64)
    lengths = torch.tensor([_TOKENS, _TOKENS])
    sequence_id = torch.arange(2).repeat_interleave(lengths)
    policy = at_rest + (sequence_id == side) * move / _TOKENS
    tokens = TokenScores(policy, at_rest, sequence_id, lengths, at_rest)
    values = {"margin": 1.0, "probability": 0.8, "weight": 1.0}
    columns = {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}
    zero = torch.zeros((), dtype=torch.float64)
    return PairScores.from_tokens(tokens, columns)._replace(baseline=Baseline(zero, zero))


def _listed(move: Tensor, place: int) -> ListScores:
    """Make a list in whose ranking the completion at this place has moved."""
    reference = torch.full((_LISTED,), _TOKENS * _PER_TOKEN, dtype=torch.float64)
    score = torch.arange(_LISTED - 1, -1, -1, dtype=torch.float64)
    zero = torch.zeros((), dtype=torch.float64)
    return ListScores(
        reference + (torch.arange(_LISTED) == place) * move,
        reference,
        torch.full((_LISTED,), _TOKENS),
        torch.zeros(_LISTED, dtype=torch.long),
        (_LISTED,),
        {"score": score, "quantile": (score + 1) / _LISTED},
        baseline=Baseline(zero, zero),
    )


def _unpaired(move: Tensor, desirable: bool) -> UnpairedScores:
    reference = torch.full((1,), _TOKENS * _PER_TOKEN, dtype=torch.float64)
    zero = torch.zeros((), dtype=torch.float64)
    return UnpairedScores(
        reference + move,
        reference,
        torch.tensor([_TOKENS]),
        torch.tensor([desirable]),
        reference,
        reference,
        baseline=Baseline(zero, zero),
    )
