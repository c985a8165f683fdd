"""A directory of a model as a repository of the Hugging Face hub."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Optional

from dpo_lightning.errors import InputError, RunError
from dpo_lightning.utils.text import one_line

_REPOSITORY = re.compile(r"([\w.-]+/)?[\w.-]+", re.ASCII)
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN, with a token that may write"
_OF_A_MODEL = (
    *("*.safetensors", "*.safetensors.index.json", "pytorch_model*", "adapter_*", "config.json"),
    *("generation_config.json", "*tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*"),
    *("vocab.*", "merges.txt", "spiece.model", "*processor_config.json"),
)
"""Files by which a model, an adapter or a tokenizer is loaded: beside those of another model they would be read too."""


@dataclass(frozen=True)
class HubTarget:
    """A repository of models on the hub.

    Args:
        repository: Its name, `user/model` or `organization/model`; `model` alone is that of the token's account. It is
            made where it is not there.
        private: Whether it is private, a new one or one that is there; null for what the account has set.
        revision: Branch to write to, made where it is not there; null for the main one.
        place: Text for the argument that names it, in an error.
    """

    repository: str
    private: Optional[bool] = None
    revision: Optional[str] = None
    place: str = "push_to"

    def __post_init__(self) -> None:
        if not is_hub_name(self.repository):
            given = one_line(self.repository, 80)
            raise InputError(f"{self.place}: {given!r} is no name of a repository: give user/model")

    def check(self) -> None:
        """Ask the hub who this is, before hours of training.

        Raises:
            InputError: without a token, with one that may not write or not there, where the hub does not answer, and
                for a repository that is there and is public where a private one is asked for, or the other way.
        """
        from huggingface_hub import HfApi

        try:
            account = HfApi().whoami()
            problem = self._other_visibility(HfApi(), self._whole_name(account))
        except Exception as error:  # of the client, which has none for a missing token, and of the network
            raise InputError(f"{self.place} {self.repository}: {one_line(error, 200)}: {_LOG_IN}") from None
        token: Mapping[str, Any] = (account.get("auth") or {}).get("accessToken") or {}
        if token.get("role") == "read":
            raise InputError(f"{self.place} {self.repository}: the token may only read: {_LOG_IN}")
        owner, names = self._whole_name(account).split("/")[0], _may_write(account)
        if token.get("role") != "fineGrained" and owner not in names:
            raise InputError(f"{self.place} {self.repository}: the token is that of {', '.join(names)}: {_LOG_IN}")
        if problem:
            raise InputError(f"{self.place} {self.repository}: {problem}")

    def push(self, directory: str | Path) -> str:
        """Write all files of a directory in one commit, and return where they are then.

        What another model has left there, by which it would be loaded, goes in the same commit.

        Raises:
            RunError: where that fails; the directory stays, and the error says how to push it.
        """
        stale: list[str] = []
        try:
            return self._push(Path(directory), stale)
        except Exception as error:  # of the client and of the network: the model is on disk
            visible = {None: "", True: " --private", False: " --no-private"}[self.private]
            branch = f" --revision {shlex.quote(self.revision)}" if self.revision else ""
            gone = "".join(f" --delete {shlex.quote(name)}" for name in stale)
            again = f"hf upload {self.repository} {shlex.quote(str(directory))}{branch}{visible}{gone}"
            raise RunError(
                f"{self.place} {self.repository}: {one_line(error)}: the model is in {directory}; push it with "
                f"`{again}`"
            ) from None

    def _push(self, directory: Path, stale: list[str]) -> str:
        """Push, and add to `stale` the files that go, once they are known."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

        api = HfApi()
        repository = api.create_repo(self.repository, private=self.private, exist_ok=True)
        name = repository.repo_id
        if problem := self._other_visibility(api, name):
            raise InputError(problem)
        if self.revision is not None:
            api.create_branch(name, branch=self.revision, exist_ok=True)
        files = {path.relative_to(directory).as_posix(): path for path in directory.rglob("*") if path.is_file()}
        there = api.model_info(name, revision=self.revision).siblings or ()
        stale += [each.rfilename for each in there if each.rfilename not in files and _is_of_a_model(each.rfilename)]
        api.create_commit(
            repo_id=name,
            operations=[
                *(CommitOperationDelete(name) for name in stale),
                *(CommitOperationAdd(name, files[name]) for name in sorted(files)),
            ],
            revision=self.revision,
            commit_message="Model of dpo_lightning",
        )
        return str(repository.url)

    def _whole_name(self, account: Mapping[str, Any]) -> str:
        """Return the repository's name with its owner: the account itself where none is named."""
        return self.repository if "/" in self.repository else f"{account.get('name')}/{self.repository}"

    def _other_visibility(self, api: Any, name: str) -> str | None:
        """Return why a repository that is there is not as it is asked for; None where it is, or none is there."""
        from huggingface_hub.errors import RepositoryNotFoundError

        if self.private is None:
            return None
        try:
            is_private = api.model_info(name).private
        except RepositoryNotFoundError:
            return None
        if is_private is None or is_private == self.private:
            return None
        kind, asked = ("private", "public") if is_private else ("public", "private")
        return f"the repository is there and is {kind}, not {asked}: change that on the hub, or leave private out"


def is_hub_name(name: Any) -> bool:
    """Return whether a value may be a name on the hub: `user/model`, or `model` alone."""
    return isinstance(name, str) and _REPOSITORY.fullmatch(name) is not None


def _is_of_a_model(name: str) -> bool:
    """Return whether a file in the root of a repository is read when a model, an adapter or a tokenizer is loaded."""
    return "/" not in name and any(fnmatchcase(name, pattern) for pattern in _OF_A_MODEL)


def _may_write(account: Mapping[str, Any]) -> list[str]:
    """Return the names under which an account may have repositories."""
    return [str(each.get("name")) for each in (account, *(account.get("orgs") or ()))]
