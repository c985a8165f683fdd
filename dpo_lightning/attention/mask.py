"""The mask that a model hands its layers in a tree forward: a rule about positions, not a tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Bool
from torch import Tensor

from dpo_lightning.attention.rules import Rule, reach_of
from dpo_lightning.batch import TreeLayout

T = TypeVar("T")


class Run(NamedTuple):
    """Queries `row[start:end]` and the slices of the row that hold their keys; the queries are the last of them."""

    start: int
    end: int
    keys: tuple[slice, ...]

    @property
    def opens(self) -> bool:
        """True for the first run of its example, which has the prompt among its queries."""
        return len(self.keys) == 1

    @property
    def queries(self) -> int:
        """Number of queries `Q`."""
        return self.end - self.start

    @property
    def length(self) -> int:
        """Number of keys `K`: those of one whole sequence, at the positions `0 .. K-1`."""
        return sum(part.stop - part.start for part in self.keys)

    def gather(self, row: Tensor) -> Tensor:
        """The keys of a row `[..., L, D]` as `[..., K, D]`: a view where they are one slice."""
        if len(self.keys) == 1:
            return row[..., self.keys[0], :]
        return torch.cat([row[..., part, :] for part in self.keys], dim=-2)


class TreeMask:
    """A model's own rule (causal, sliding, chunked, ...) for the runs of a tree.

    The rule is about logical positions, where a run is a sequence like any other.

    Args:
        rule: The mask function that transformers built for a kind of layer.
        tree: The layout of the row.
        device: Device of the row.
        causal_below: Length below which, as transformers says, the rule is the causal one.
    """

    def __init__(self, rule: Rule, tree: TreeLayout, device: torch.device, causal_below: int = 0) -> None:
        self.tree = tree
        self._rule = rule
        self._device = device
        self._causal_below = causal_below
        self._visible: dict[tuple[int, int], Tensor] = {}

    @cached_property
    def runs(self) -> list[Run]:
        """Runs of each example: `[P C1]` over itself, then each further branch `[Ck]` over `[P Ck]`."""
        return self.once(runs_of)

    @cached_property
    def reach(self) -> float | None:
        """How many keys back each query of this row sees, itself included: infinity where that is all of them.

        None where the rule is no causal window, or cannot be read.
        """
        reach = math.inf if self.tree.most_keys < self._causal_below else reach_of(self._rule)
        return reach if reach is None or reach < self.tree.most_keys else math.inf

    @cached_property
    def is_causal(self) -> bool:
        """True where every query of this row is known to see all of its sequence up to itself.

        A rule that cannot be read is evaluated on a CPU; elsewhere that would stall the device.
        """
        if self.reach is not None or self._device.type != "cpu":
            return self.reach == math.inf
        return all(torch.equal(self._evaluated(run), _causal(run)) for run in self.runs)

    def once(self, make: Callable[..., T], *settings: Hashable) -> T:
        """Return `make(tree, *settings)`, computed for the first layer of policy and reference that asks."""
        if (make, settings) not in self._shared:
            with torch.inference_mode(False):  # the policy's backward may save what its reference made
                self._shared[make, settings] = make(self.tree, *settings)
        made: T = self._shared[make, settings]
        return made

    @cached_property
    def _shared(self) -> dict[Hashable, Any]:
        return _derived(self.tree.position_ids)

    def visible(self, run: Run) -> Bool[Tensor, "Q K"]:
        """Return which keys each query of the run sees."""
        shape = (run.queries, run.length)
        if shape not in self._visible:
            self._visible[shape] = self._evaluated(run)
        return self._visible[shape]

    def _evaluated(self, run: Run) -> Tensor:
        zero = torch.zeros((), dtype=torch.long, device=self._device)
        keys = torch.arange(run.length, device=self._device)
        visible = self._rule(zero, zero, keys[run.length - run.queries :, None], keys[None, :])
        return visible.expand(run.queries, run.length)


@lru_cache(maxsize=2)
def _derived(positions: Tensor) -> dict[Hashable, Any]:
    """Return the place for what is derived from the tree with these positions, a tensor of its own for each batch."""
    return {}


def runs_of(tree: TreeLayout) -> list[Run]:
    """Return the runs of a tree, in the order of the row."""
    return list(_runs(tree))


def _runs(tree: TreeLayout) -> Iterator[Run]:
    start = 0
    for prompt, (length, *others) in tree.segments:
        end_of_prompt, end = start + prompt, start + prompt + length
        yield Run(start, end, (slice(start, end),))
        for other in filter(None, others):
            yield Run(end, end + other, (slice(start, end_of_prompt), slice(end, end + other)))
            end += other
        start = end


def _causal(run: Run) -> Tensor:
    return torch.ones(run.queries, run.length, dtype=torch.bool).tril(run.length - run.queries)
