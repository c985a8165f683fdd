"""Pushing to the hub at the end of a run, where `Export` can."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from pathlib import PurePath

import dpo_lightning
from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.tree import From, Tree

_OF_HUB = ("hub_model_id", "hub_private_repo", "hub_revision", "hub_strategy", "hub_always_push")


def pushed(draft: Draft, directory: str) -> dict[str, Tree]:
    """Return the arguments of `Export` that push; refuse what asks for more than it has.

    Args:
        draft: The config.
        directory: Of the run; its last part is the repository's name there where none is given.
    """
    given = draft.given
    if given.asks("hub_token"):
        draft.refuse("hub_token", "a config holds no secrets: set HF_TOKEN in the environment")
    if not given["push_to_hub"]:
        for name in (name for name in _OF_HUB if given.asks(name)):
            draft.nothing_there(name, "push_to_hub is not set: nothing is pushed")
        return {}
    known = inspect.signature(dpo_lightning.Export).parameters
    if "push_to" not in known:
        draft.refuse("push_to_hub", "push the directory of Export by `hf upload`")
        return {}
    for name in (name for name in ("hub_strategy", "hub_always_push") if given.asks(name)):
        draft.differs(name, "pushed once, when the fit ends")
    return _arguments(draft, directory, known)


def _arguments(draft: Draft, directory: str, known: Collection[str]) -> dict[str, Tree]:
    given = draft.given
    name = given["hub_model_id"] or PurePath(directory).name
    if "/" not in name:
        draft.refuse("hub_model_id" if given["hub_model_id"] else "push_to_hub", f"give hub_model_id, as user/{name}")
    found: dict[str, Tree] = {"push_to": From(name, given.because("push_to_hub", "hub_model_id"))}
    for field, ours in (("hub_private_repo", "private"), ("hub_revision", "revision")):
        if given[field] is not None and ours in known:
            found[ours] = given.of(field)
        elif given[field] is not None:
            draft.refuse(field, "push the directory of Export by `hf upload`")
    return found
