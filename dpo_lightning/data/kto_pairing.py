"""Completions of other prompts, from which an unpaired objective estimates how far the policy is from its reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from dpo_lightning.compat.datasets import fingerprint
from dpo_lightning.data.content_hash import KEY
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import shown

if TYPE_CHECKING:
    from datasets import Dataset

_VERSION = "3"  # part of the cache key: change it with anything that changes the choice
_BATCH = 1024


def with_mismatched(rows: Dataset, max_length: int, seed: int, place: str) -> Dataset:
    """Put a completion of another prompt beside each row's own ones: what KTO estimates its KL divergence from.

    The rows are put on a ring, in the order of a hash of the seed, the prompt's tokens and the completions', and each
    takes the next one whose prompt has other tokens. There is one for each prompt, however many completions it has: the
    estimate is over prompts, and costs one branch of the tree. Of a row with several completions the hash says which
    one is taken, so that all of them occur alike. Labels and row numbers have no part in it: caches and resumed runs
    meet the same choice, in whatever order the rows come, rows with the same tokens get the same completion, and a row
    more changes the choice only for rows right before it on the ring. Of a completion that is longer than the room that
    the prompt leaves, the end is cut off, its end of sequence with it.

    Args:
        rows: Tokenised labelled completions; the other prompts are among them.
        max_length: Most tokens of prompt and completion together.
        seed: Of the hash; another one makes another choice.
        place: The rows as messages name them.

    Returns:
        The rows, in their order, with the other completion as `mismatched_ids`.

    Raises:
        InputError: when all prompts are equal.
    """
    from datasets import Features
    from datasets.fingerprint import Hasher

    prompts, places = _hashes(rows, seed)
    partners = mismatched_partners(prompts, places)
    if partners is None:
        raise InputError(
            f"{place}: all prompts are equal, and the objective reads completions of other prompts: add rows with "
            "another prompt (of held-out rows, a larger share), or take an objective without a KL estimate, such as "
            "UnpairedBCO"
        )

    def add(columns: Mapping[str, Sequence[list[int]]], indices: Sequence[int]) -> dict[str, list[list[int]]]:
        others = rows[partners[indices]]
        rooms = [max_length - len(prompt) for prompt in columns["prompt_ids"]]
        numbers = map(_drawn, others["completion_ids"], places[partners[indices]])
        drawn = [*zip(numbers, rooms, strict=True)]
        return {
            "mismatched_ids": [
                ids[number][:room] for ids, (number, room) in zip(others["completion_ids"], drawn, strict=True)
            ],
            "mismatched_scored": [
                _cut(masks[number][:room]) if masks else []
                for masks, (number, room) in zip(others["scored"], drawn, strict=True)
            ],
        }

    return rows.map(
        add,
        batched=True,
        batch_size=_BATCH,
        with_indices=True,
        features=Features(
            {
                **rows.features,
                "mismatched_ids": rows.features["prompt_ids"],
                "mismatched_scored": rows.features["scored"].feature,
            }
        ),
        new_fingerprint=Hasher.hash((_VERSION, fingerprint(rows), max_length, seed)),
        desc=shown(f"mismatching {place}"),
    )


def _cut(mask: list[bool]) -> list[bool]:
    """Return the mask of the tokens for which there is room; all of them count where it leaves none."""
    return mask if any(mask) else []


def mismatched_partners(prompts: np.ndarray, places: np.ndarray) -> np.ndarray | None:
    """Find for each row the next one on the ring that has another prompt.

    Where no neighbours on the ring share their prompt, each row is the partner of exactly one: the mismatched
    completions are the completions.

    Args:
        prompts: What tells each row's prompt from others, `[rows]`.
        places: What the ring is sorted by, `[rows]`; rows with equal ones keep their order.

    Returns:
        Index of the partner of each row `[rows]`, or None when there is one prompt only.
    """
    order = np.argsort(places, kind="stable")
    ring = prompts[order]
    changes = np.flatnonzero(ring != np.roll(ring, 1))
    if not len(changes):
        return None
    following = np.searchsorted(changes, np.arange(len(ring)), side="right") % len(changes)
    partners = np.empty_like(order)
    partners[order] = order[changes[following]]
    return partners


def _drawn(completions: Sequence[list[int]], place: bytes) -> int:
    """Return the number of one of the completions, as the hash says; the bytes that the ring is sorted by come last."""
    return int.from_bytes(bytes(place)[-4:], "big") % len(completions)


def _hashes(rows: Dataset, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of each row's prompt `[rows]`, and of the seed, its prompt and its completions `[rows]`."""
    prompts, places = [], []
    for block in rows.select_columns(["prompt_ids", "completion_ids"]).with_format("numpy").iter(batch_size=_BATCH):
        for ids, completions in zip(block["prompt_ids"], block["completion_ids"], strict=True):
            prompts.append(_hash(ids))
            places.append(_hash([seed], ids, [len(ids)], *completions))
    return np.array(prompts, KEY), np.array(places, KEY)


def _hash(*parts: Any) -> bytes:
    digest = blake2b(digest_size=KEY.itemsize)
    for part in parts:
        digest.update(np.ascontiguousarray(part, dtype="<i8").tobytes())
    return digest.digest()
