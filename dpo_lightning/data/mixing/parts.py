"""Parts of the training rows by their source: how they are named in messages, logs and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dpo_lightning.data.content_hash import content_hash
from dpo_lightning.data.mixing.epoch_rows import Part
from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    import datasets


def said_of(parts: Sequence[Part]) -> str:
    """Say how many rows of each source an epoch has, and which share of it that is."""
    total = sum(part.taken for part in parts)
    said = [f"{part.name} {part.taken} of {part.size} rows ({part.taken / total:.1%})" for part in parts]
    return f"data.sources: {total} rows in each epoch: {', '.join(said)}"


def states(parts: Sequence[Part], rows: datasets.Dataset) -> dict[str, dict[str, Any]]:
    """Return what a checkpoint says of the sources: the content hash of each, and how many rows an epoch has of it."""
    return {
        part.name: {
            "content": content_hash(rows.select(range(part.start, part.start + part.size))),
            "size": part.size,
            "taken": part.taken,
        }
        for part in parts
    }


def check_same(before: Mapping[str, Mapping[str, Any]] | None, now: Mapping[str, Mapping[str, Any]] | None) -> None:
    """Compare the sources of a checkpoint with those of this run.

    Args:
        before: What `states`, or that of a stream, gave for the checkpoint's run; None where it had one source without
            a name.
        now: The same for this run.

    Raises:
        InputError: naming the sources that differ, and how.
    """
    before, now = before or {}, now or {}
    said = [f"{name!r} is gone" for name in before if name not in now]
    said += [f"{name!r} is new" for name in now if name not in before]
    for name in [each for each in now if each in before]:
        was, has = before[name], now[name]
        if was["content"] != has["content"]:
            sizes = f" ({was['size']} before, {has['size']} now)" if "size" in was and "size" in has else ""
            said.append(f"{name!r} has other rows{sizes}")
        elif was.get("taken") != has.get("taken"):
            said.append(f"{name!r} gives {has['taken']} rows to an epoch, and gave {was['taken']}")
        elif was.get("weight") != has.get("weight"):
            said.append(f"{name!r} has the weight {has['weight']:g}, and had {was['weight']:g}")
    if not said and [*before] != [*now]:
        said.append("they stand in another order")
    if said:
        raise InputError(
            f"data.sources: the checkpoint was written with other sources: {'; '.join(said)}: its position in the "
            "epoch means nothing here. Resume with the same ones, or leave the rest of the epoch out with "
            "data.resume=next_epoch"
        )
