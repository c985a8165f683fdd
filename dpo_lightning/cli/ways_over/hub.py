"""Pushing to the hub at the end of a run, where `Export` can."""

from __future__ import annotations

import inspect
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
    return _arguments(draft, directory, private="private" in known)


def _arguments(draft: Draft, directory: str, *, private: bool) -> dict[str, Tree]:
    given = draft.given
    if given.asks("hub_revision"):
        draft.refuse("hub_revision", "pushed to the main branch: leave it out, or push by `hf upload --revision`")
    name = given["hub_model_id"] or PurePath(directory).name
    found: dict[str, Tree] = {"push_to": From(name, given.because("push_to_hub", "hub_model_id"))}
    if given["hub_private_repo"] is not None and private:
        found["private"] = given.of("hub_private_repo")
    return found
