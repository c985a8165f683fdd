"""Pushing to the hub at the end of a run, as `Export` does."""

from __future__ import annotations

from pathlib import PurePath

from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.tree import From, Tree

_OF_HUB = ("hub_model_id", "hub_private_repo", "hub_revision", "hub_strategy", "hub_always_push")
ONCE = "pushed once, when the fit ends"


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
    if given.asks("hub_always_push"):
        draft.differs("hub_always_push", ONCE)
    found = repository(draft, "push_to_hub", PurePath(directory).name)
    if given["hub_private_repo"] is not None:
        found["private"] = given.of("hub_private_repo")
    return found


def repository(draft: Draft, asks: str, name: str) -> dict[str, Tree]:
    """Return the repository and its branch as arguments of `Export`; one without an account is the token's there, too.

    Args:
        draft: The config.
        asks: The field that asks for a push.
        name: The repository where `hub_model_id` names none.
    """
    given = draft.given
    name = given["hub_model_id"] or name
    if given["hub_strategy"] != "end":
        draft.differs("hub_strategy" if given.says("hub_strategy") else asks, f"{ONCE}, and there at every save")
    found: dict[str, Tree] = {"push_to": From(name, given.because(*dict.fromkeys((asks, "hub_model_id"))))}
    if given["hub_revision"] is not None:
        found["revision"] = given.of("hub_revision")
    return found
