"""Work of a device: a micro-batch of equal pairs, and its place among other devices."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Work(Protocol):
    """The tokens of a micro-batch, as the operations depend on them: those of `Workload`, or counted ones."""

    @property
    def tokens(self) -> float:
        """`L`, tokens that the model sees."""

    @property
    def scored(self) -> float:
        """`N`, tokens whose log-prob counts."""

    @property
    def attended(self) -> float:
        """`A`, pairs of a query and a key that it sees."""

    @property
    def accumulate(self) -> int:
        """Micro-batches of an optimizer step."""


class Workload(NamedTuple):
    """A micro-batch of `b` examples, each with a prompt of `p` and `k` completions of `c` tokens.

    Attributes:
        pairs: `b`; examples of other kinds count as pairs do.
        prompt: `p`.
        completion: `c`.
        tree: Whether an example is one row with its prompt once, or a padded row for each completion.
        accumulate: Micro-batches of an optimizer step.
        completions: `k`, those of an example that are computed: 2 of a pair.
    """

    pairs: int
    prompt: int
    completion: int
    tree: bool = True
    accumulate: int = 1
    completions: int = 2

    @property
    def tokens(self) -> int:
        """`L`, tokens that the model sees: b (p + kc) in the tree layout, kb (p + c) in the padded one."""
        prompts = 1 if self.tree else self.completions
        return self.pairs * (prompts * self.prompt + self.completions * self.completion)

    @property
    def scored(self) -> int:
        """`N` = kbc, tokens whose log-prob counts."""
        return self.completions * self.pairs * self.completion

    @property
    def keys(self) -> int:
        """`K` = kb (p + c), keys of all runs: the tree's flash attention has a prompt's keys k times."""
        return self.completions * self.pairs * (self.prompt + self.completion)

    @property
    def attended(self) -> float:
        """`A`, pairs of a query and a key that it sees: a causal half of each sequence, a tree's prompt once."""
        prompt, completion = self.prompt, self.completion
        of_completion = completion * prompt + completion**2 / 2
        prompts = 1 if self.tree else self.completions
        return self.pairs * (prompts * prompt**2 / 2 + self.completions * of_completion)


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
