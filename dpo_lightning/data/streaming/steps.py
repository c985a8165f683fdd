"""Examples of a rank -> the batches of a step, as many on every rank, that know how many examples all ranks have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from dpo_lightning.data.streaming.tokens import Position, Taken

Told = tuple[list[list[Position]], bool]
"""A rank's word before a window: the positions in each batch that it holds, and whether these are its last ones."""


class Surplus(NamedTuple):
    """Examples of a rank that an epoch leaves out, since another rank has none left.

    Attributes:
        rank: The rank.
        examples: How many it holds.
        ended: Whether these are all.
    """

    rank: int
    examples: int
    ended: bool


class Step(NamedTuple):
    """A batch, and what all ranks know of theirs.

    Attributes:
        batch: The examples of this rank.
        window: Examples of the whole optimizer step, over its batches and over all ranks.
        positions: Position behind the batch on each rank.
        rest: Sizes of the batches to come on each rank, where the end is near and they are settled; None before.
    """

    batch: list[Taken]
    window: int
    positions: list[Position]
    rest: list[list[int]] | None


def filled(examples: Iterable[Taken], most: int, size: Callable[[Taken], int]) -> Iterator[list[Taken]]:
    """Fill batches with examples as they come.

    Args:
        examples: The examples.
        most: Most of a batch.
        size: What an example takes of it: one, or its tokens.
    """
    batch: list[Taken] = []
    taken = 0
    for each in examples:
        if batch and taken + size(each) > most:
            yield batch
            batch, taken = [], 0
        batch.append(each)
        taken += size(each)
    if batch:
        yield batch


def steps(
    batches: Iterator[list[Taken]],
    exchange: Callable[[Told], list[Told]],
    rank: int,
    first: int,
    accumulate: int,
    leave: Callable[[list[Surplus]], None] = lambda surplus: None,
) -> Iterator[Step]:
    """Yield batches of this rank until one rank has none left.

    Before each optimizer step, ranks tell each other how many examples their batches have, and whether more will come.
    Where one has come to its end, those with fewer batches split theirs, so that all rows are taken; what a rank has
    beyond that is left out of the epoch.

    Args:
        batches: The batches of this rank.
        exchange: Gives what all ranks have told, in the order of ranks; all must call.
        rank: This rank.
        first: Batches of the first window.
        accumulate: Batches of an optimizer step.
        leave: Is told what is left out at the end.
    """
    hand: list[list[Taken]] = []
    room = first
    while True:
        hand += islice(batches, room + 1 - len(hand))
        told = exchange(([[each.position for each in batch] for batch in hand], len(hand) <= room))
        plans = [positions for positions, _ in told]
        if any(ended for _, ended in told):
            plans = equalised(plans)
            leave(_surplus(told, plans))
            flat = [each for batch in hand for each in batch]
            yield from _last(_cut(flat, plans[rank]), plans, room, accumulate)
            return
        yield from _window(hand[:room], [plan[:room] for plan in plans], None)
        hand, room = hand[room:], accumulate


def _surplus(told: list[Told], plans: list[list[list[Position]]]) -> list[Surplus]:
    left = [
        Surplus(rank, sum(map(len, had)) - sum(map(len, plan)), ended)
        for rank, ((had, ended), plan) in enumerate(zip(told, plans, strict=True))
    ]
    return [each for each in left if each.examples or not each.ended]


def equalised(plans: Sequence[list[list[Position]]]) -> list[list[list[Position]]]:
    """Give every rank as many batches as the one with the most, by halving the largest ones; none is empty."""
    fewest_examples = min(sum(map(len, plan)) for plan in plans)
    wanted = min(fewest_examples, max(map(len, plans)))
    return [_halved(plan, wanted) for plan in plans]


def _halved(plan: list[list[Position]], wanted: int) -> list[list[Position]]:
    plan = plan[:wanted]
    while len(plan) < wanted:
        largest = max(range(len(plan)), key=lambda number: len(plan[number]))
        middle = (len(plan[largest]) + 1) // 2
        plan[largest : largest + 1] = [plan[largest][:middle], plan[largest][middle:]]
    return plan


def _cut(flat: Sequence[Taken], plan: Sequence[Sequence[Position]]) -> list[list[Taken]]:
    rest = iter(flat)
    return [list(islice(rest, len(batch))) for batch in plan]


def _last(hand: list[list[Taken]], plans: list[list[list[Position]]], room: int, accumulate: int) -> Iterator[Step]:
    while hand:
        yield from _window(hand[:room], [plan[:room] for plan in plans], [plan[room:] for plan in plans])
        hand, plans, room = hand[room:], [plan[room:] for plan in plans], accumulate


def _window(
    hand: list[list[Taken]], plans: list[list[list[Position]]], later: list[list[list[Position]]] | None
) -> Iterator[Step]:
    examples = sum(len(batch) for plan in plans for batch in plan)
    for number, batch in enumerate(hand):
        rest = None
        if later is not None:
            rest = [
                [len(each) for each in [*plan[number + 1 :], *more]] for plan, more in zip(plans, later, strict=True)
            ]
        yield Step(batch, examples, [plan[number][-1] for plan in plans], rest)
