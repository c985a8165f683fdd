"""Names of models and datasets: a directory, or something on the Hugging Face hub, which may be out of reach."""

from __future__ import annotations

import os
from functools import cache

from lightning.pytorch.utilities import rank_zero_warn

from dpo_lightning.compat.huggingface_hub import work_offline
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import one_line

_PATIENCE = 10.0  # seconds


def check_source(what: str, name: str) -> None:
    """Get ready to load `name`: tell a missing directory from a hub name, and find out whether the hub answers.

    Where it does not, this process works offline from here on: its client would try six times for each file, which is
    minutes for a model that was downloaded long ago.

    Raises:
        InputError: when `name` can only be a path, and nothing is there: the hub's own message is about names.
    """
    if os.path.exists(name):  # `Path` raises where a name is too long
        return
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"{what}: no such directory: {one_line(name, 200)}")
    _go_offline_without_hub()


@cache
def _go_offline_without_hub() -> None:
    """Ask the hub, once a process, and work offline where it does not answer."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception as error:  # of the HTTP client, of a proxy, of name resolution
        reason = one_line(error, 1000)
        rank_zero_warn(f"{constants.ENDPOINT} cannot be reached ({reason}): using what was downloaded before")
        work_offline()
