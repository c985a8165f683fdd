"""Reading another tool's config, and writing ours: checked by the parser of `fit` before it has its name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from dpo_lightning.cli.config_files import check_config
from dpo_lightning.cli.data_of_config import data_of_config
from dpo_lightning.cli.ways_over.tree import BESIDE, written
from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import replaced
from dpo_lightning.utils.text import one_line


def read_config(path: Path) -> dict[str, Any]:
    """Return a config in YAML or JSON as it stands in the file.

    Raises:
        InputError: for a file that is not there, is neither, has a key twice, or is no mapping; naming file and line.
    """
    if not path.is_file():
        raise InputError(f"config {path}: {'a directory' if path.is_dir() else 'there is no such file'}: give a file")
    check_config(path)
    text = path.read_bytes().decode("utf-8-sig")
    if path.suffix == ".json":
        try:
            return dict(json.loads(text))
        except ValueError as error:
            raise InputError(f"config {path}: no JSON: {one_line(error)}") from None
    return dict(yaml.safe_load(text))


def write_config(
    out: Path, tree: Mapping[str, Any], heading: Sequence[str], beside: Mapping[str, str] | None = None
) -> list[Path]:
    """Write a config that the parser of `fit` takes and whose module and data can be built; or nothing.

    Args:
        out: The config.
        tree: What is in it.
        heading: Lines above it.
        beside: Texts of files beside it, by what stands behind its name in theirs.

    Returns:
        The files beside it.

    Raises:
        InputError: for a value that an object of ours refuses.
    """
    place = f"{out.with_suffix('')}."
    files = {Path(f"{place}{name}"): text for name, text in (beside or {}).items()}
    for file in files:
        if file.exists():
            raise InputError(f"import --out: {file} is there already: give another path, or remove it")
    with replaced(out) as temporary:
        temporary.write_text(written(tree, heading).replace(BESIDE, place), encoding="utf-8")
        data_of_config(["--config", str(temporary)])
        for file, text in files.items():
            file.write_text(text, encoding="utf-8")
    return list(files)
