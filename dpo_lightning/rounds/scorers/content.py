"""Content of models, for files that go on only with the same one."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from dpo_lightning.utils.files import content_of


def content_of_model(name: str) -> str | None:
    """Return a hash of a checkpoint or of a directory of a model; None for a name on the hub.

    It reads every byte once, at some GB/s: little beside loading the model.

    Args:
        name: A file, a directory or a name on the hub.
    """
    path = Path(name)
    if not path.exists():
        return None
    whole = blake2b(digest_size=16)
    for file in [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file()):
        whole.update(f"{file.relative_to(path)}\0{content_of(file)}\0".encode())
    return whole.hexdigest()


def made_of_model(option: str, name: str) -> dict[str, str | None]:
    """Return what says which model an option names, for `Scorer.made`."""
    return {option: name, f"{option}_content": content_of_model(name)}
