"""A directory of a model as a repository of the Hugging Face hub."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from dpo_lightning.errors import InputError, RunError
from dpo_lightning.utils.text import one_line

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN, with a token that may write"


@dataclass(frozen=True)
class HubTarget:
    """A repository of models on the hub.

    Args:
        repository: Its name, `user/model` or `organization/model`; one that is not there is made.
        private: Whether a new one is private; null for what the account has set.
        revision: Branch to write to, made where it is not there; null for the main one.
        place: Text for the argument that names it, in an error.
    """

    repository: str
    private: Optional[bool] = None
    revision: Optional[str] = None
    place: str = "push_to"

    def __post_init__(self) -> None:
        if not _REPOSITORY.fullmatch(self.repository):
            given = one_line(self.repository, 80)
            raise InputError(f"{self.place}: {given!r} is no name of a repository: give user/model")

    def check(self) -> None:
        """Ask the hub who this is, before hours of training.

        Raises:
            InputError: without a token, with one that may not write or not there, and where the hub does not answer.
        """
        from huggingface_hub import HfApi

        try:
            account = HfApi().whoami()
        except Exception as error:  # of the client, which has none for a missing token, and of the network
            raise InputError(f"{self.place} {self.repository}: {one_line(error, 200)}: {_LOG_IN}") from None
        token: Mapping[str, Any] = (account.get("auth") or {}).get("accessToken") or {}
        if token.get("role") == "read":
            raise InputError(f"{self.place} {self.repository}: the token may only read: {_LOG_IN}")
        owner, names = self.repository.split("/")[0], _may_write(account)
        if token.get("role") != "fineGrained" and owner not in names:
            raise InputError(f"{self.place} {self.repository}: the token is that of {', '.join(names)}: {_LOG_IN}")

    def push(self, directory: str | Path) -> str:
        """Write all files of a directory in one commit, and return where they are then.

        Raises:
            RunError: where that fails; the directory stays, and the error says how to push it.
        """
        from huggingface_hub import HfApi

        api = HfApi()
        try:
            repository = api.create_repo(self.repository, private=self.private, exist_ok=True)
            if self.revision is not None:
                api.create_branch(self.repository, branch=self.revision, exist_ok=True)
            api.upload_folder(
                repo_id=self.repository,
                folder_path=directory,
                revision=self.revision,
                commit_message="Model of dpo_lightning",
            )
        except Exception as error:  # of the client and of the network: the model is on disk
            branch = f" --revision {self.revision}" if self.revision else ""
            again = f"hf upload {self.repository} {shlex.quote(str(directory))}{branch}"
            raise RunError(
                f"{self.place} {self.repository}: {one_line(error)}: the model is in {directory}; push it with "
                f"`{again}`"
            ) from None
        return str(repository.url)


def _may_write(account: Mapping[str, Any]) -> list[str]:
    """Return the names under which an account may have repositories."""
    return [str(each.get("name")) for each in (account, *(account.get("orgs") or ()))]
