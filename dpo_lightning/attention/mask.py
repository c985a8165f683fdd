"""The mask that a model hands its layers in a tree forward: a rule about positions, not a tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from dpo_lightning.batch import TreeLayout

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""`rule(batch, head, query position, key position) -> visible`, the form that transformers builds masks from."""


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

    The rule is evaluated on logical positions, where a run is a sequence like any other, so that nothing here knows
    what a window or a chunk is.

    Args:
        rule: The mask function that transformers built for a kind of layer.
        tree: The layout of the row.
        device: Device of the row.
    """

    def __init__(self, rule: Rule, tree: TreeLayout, device: torch.device) -> None:
        self.tree = tree
        self._rule = rule
        self._device = device
        self._visible: dict[tuple[int, int], Tensor] = {}

    @cached_property
    def runs(self) -> list[Run]:
        """Runs of each example: `[P C1]` over itself, then each further branch `[Ck]` over `[P Ck]`."""
        return list(_runs(self.tree))

    @cached_property
    def is_causal(self) -> bool:
        """True where every query of this row sees all of its sequence up to itself."""
        from transformers.masking_utils import causal_mask_function

        if self._rule is causal_mask_function:
            return True
        host = torch.device("cpu")
        try:
            return all(torch.equal(self._evaluated(run, host), _causal(run)) for run in self.runs)
        except RuntimeError:  # a rule with tensors of its own on the device; to ask there would stall it
            return False

    def visible(self, run: Run) -> Bool[Tensor, "Q K"]:
        """Return which keys each query of the run sees."""
        shape = (run.queries, run.length)
        if shape not in self._visible:
            self._visible[shape] = self._evaluated(run, self._device)
        return self._visible[shape]

    def _evaluated(self, run: Run, device: torch.device) -> Tensor:
        zero = torch.zeros((), dtype=torch.long, device=device)
        keys = torch.arange(run.length, device=device)
        visible = self._rule(zero, zero, keys[run.length - run.queries :, None], keys[None, :])
        return visible.expand(run.queries, run.length)


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
