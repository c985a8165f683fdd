"""What is compared: where the pairs of a run come from, in how many rounds, and what holds the policy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

from benchmarks.frontier import Protocol

Pairs = Literal["world", "policy"]
Reference = Literal["first", "previous"]
Pairing = Literal["best-worst", "all"]


@dataclass(frozen=True)
class Arm:
    """A way to spend a number of pairs.

    Args:
        name: What table and picture call it.
        pairs: `world` takes those of the lab, `policy` samples them from the policy as each round begins.
        rounds: Rounds that share the pairs.
        reference: What DPO compares with: the policy before the first round, or before this one.
        samples: Completions of a prompt, of which pairs are made.
        pairing: `best-worst` makes one pair of a prompt, `all` every one whose rewards differ.
        beta: DPO's.
    """

    name: str
    pairs: Pairs = "policy"
    rounds: int = 1
    reference: Reference = "previous"
    samples: int = 4
    pairing: Pairing = "best-worst"
    beta: float = 0.3

    def over(self, betas: Sequence[float]) -> tuple[Arm, ...]:
        """Return the arm with each of these betas: the points of its curve."""
        return tuple(replace(self, beta=beta) for beta in betas)

    def settings(self) -> dict[str, Any]:
        """Return what a result depends on: the name is none of it, nor what the lab's own pairs do not read."""
        unread = ("name", "samples", "pairing") if self.pairs == "world" else ("name",)
        return {name: value for name, value in asdict(self).items() if name not in unread}


PROTOCOL = Protocol(pairs=2400)
"""As the frontier's, with pairs for three rounds of 50 steps."""

OFFLINE = Arm("one round, the lab's pairs", "world")
SAMPLED = Arm("one round, pairs of the first policy")
ROUNDS = Arm("three rounds", rounds=3)

ARMS: tuple[tuple[Arm, ...], ...] = (
    OFFLINE.over((0.1, 0.2, 0.3, 0.5, 1.0)),
    SAMPLED.over((0.2, 0.5)),
    ROUNDS.over((0.5, 1.0, 2.0)),
)
"""The curves of the picture."""


class Stage(NamedTuple):
    """A policy that is measured: that of an arm and a seed after so many of its rounds; 0 is the first policy."""

    arm: Arm
    seed: int
    done: int
    protocol: Protocol

    @property
    def name(self) -> str:
        """Name in messages."""
        return f"{self.arm.name}, beta {self.arm.beta:g}, after round {self.done}" if self.done else "first policy"

    def key(self) -> str:
        """Return `settings` as text."""
        return json.dumps(self.settings(), sort_keys=True)

    def settings(self) -> dict[str, Any]:
        """Return all that the result depends on, in the types of JSON."""
        return {"arm": self.arm.settings(), "seed": self.seed, "done": self.done, "protocol": asdict(self.protocol)}
