"""Work of a device: a micro-batch of equal pairs, and its place among other devices."""

from __future__ import annotations

from typing import NamedTuple


class Workload(NamedTuple):
    """A micro-batch of `b` pairs, each with a prompt of `p` and two completions of `c` tokens.

    Attributes:
        pairs: `b`.
        prompt: `p`.
        completion: `c`.
        tree: Whether a pair is one row with its prompt once, or two padded rows.
        accumulate: Micro-batches of an optimizer step.
    """

    pairs: int
    prompt: int
    completion: int
    tree: bool = True
    accumulate: int = 1

    @property
    def tokens(self) -> int:
        """`L`, tokens that the model sees: b (p + 2c) in the tree layout, 2b (p + c) in the padded one."""
        per_pair = self.prompt + 2 * self.completion if self.tree else 2 * (self.prompt + self.completion)
        return self.pairs * per_pair

    @property
    def scored(self) -> int:
        """`N` = 2bc, tokens whose log-prob counts."""
        return 2 * self.pairs * self.completion

    @property
    def keys(self) -> int:
        """`K` = 2b (p + c), keys of all runs: the tree's flash attention has a prompt's keys twice."""
        return 2 * self.pairs * (self.prompt + self.completion)

    @property
    def attended(self) -> float:
        """`A`, pairs of a query and a key that it sees: a causal half of each sequence, a tree's prompt once."""
        prompt, completion = self.prompt, self.completion
        of_completion = completion * prompt + completion**2 / 2
        return self.pairs * ((1 if self.tree else 2) * prompt**2 / 2 + 2 * of_completion)


class Mesh(NamedTuple):
    """Numbers of devices, by what they share.

    Attributes:
        data: Data-parallel ranks `n`: each has other pairs.
        tensor: Tensor-parallel ranks `t`: they split the matrices of each layer, and have the same pairs.
        sharded: Whether parameters are sharded over the data-parallel ranks (FSDP2), or each has them all (DDP).
    """

    data: int = 1
    tensor: int = 1
    sharded: bool = False

    @property
    def devices(self) -> int:
        """Number of devices."""
        return self.data * self.tensor
