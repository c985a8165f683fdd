"""Every run of a sweep, checked before the first one starts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dpo_lightning.cli.sweeps.axes import Axis, plain_key
from dpo_lightning.cli.sweeps.checked import Checked, built, cached, parsed, sharing_reference
from dpo_lightning.cli.sweeps.names import run_name, short_keys
from dpo_lightning.errors import InputError
from dpo_lightning.report.defaults import flat
from dpo_lightning.utils.files import content_of


@dataclass(frozen=True)
class Planned:
    """A run that is to be.

    Args:
        name: Its name, which is that of its directory.
        values: Values of the axes, by their keys.
        checked: What is known of it.
    """

    name: str
    values: Mapping[str, str]
    checked: Checked

    @property
    def made(self) -> str:
        """Hash of all its settings."""
        return blake2b(json.dumps(self.checked.settings, sort_keys=True).encode(), digest_size=16).hexdigest()


def planned(
    axes: Sequence[Axis], words: Sequence[str], out: Path, begun: Mapping[str, Mapping[str, Any]], *, share: bool
) -> list[Planned]:
    """Check every combination of values, and return the runs.

    Args:
        axes: The axes.
        words: Words of `fit` that all runs share.
        out: Directory of the sweep.
        begun: Runs that have begun, by name: they are parsed, and not built.
        share: Whether the reference is scored once for all.

    Raises:
        InputError: for a run that would not start, and two that would be the same.
        SystemExit: 2 for a key or a value that the parser refuses.
    """
    _refuse_fixed(axes, words)
    keys = short_keys(axes)
    runs: list[Planned] = []
    same: dict[str, str] = {each["made"]: name for name, each in begun.items()}
    names: dict[str, tuple[str, ...]] = {}
    for values in _shown([*product(*(axis.values for axis in axes))]):
        name = run_name(keys, values)
        if names.setdefault(name.lower(), values) != values:
            raise InputError(f"sweep: two runs would have the directory {name}: write their values otherwise")
        own = [*words, *(f"--{axis.key}={value}" for axis, value in zip(axes, values, strict=True))]
        found = _checked(own, out / name, begun.get(name), share=share)
        run = Planned(name, dict(zip((axis.key for axis in axes), values, strict=True)), found)
        if (other := same.setdefault(run.made, name)) != name:
            raise InputError(f"sweep: {other} and {name} are the same run: leave one of them out")
        runs.append(run)
    return runs


def _checked(words: Sequence[str], directory: Path, begun: Mapping[str, Any] | None, *, share: bool) -> Checked:
    run = parsed(words, directory)
    if begun is not None:
        return (cached(run, directory) if begun["shares"] else run)._replace(goes_on=begun["goes_on"])
    run = built(run)
    return sharing_reference(run, directory) if share else run


def _refuse_fixed(axes: Sequence[Axis], words: Sequence[str]) -> None:
    """Refuse a flag that says what an axis says: it would change nothing."""
    given = {plain_key(word.removeprefix("--").partition("=")[0]): word for word in words if word.startswith("--")}
    for axis in axes:
        if word := given.get(axis.name):
            raise InputError(f"sweep: {word.partition('=')[0]} is an axis and a flag: leave one of them out")


def _shown(combinations: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    yield from tqdm(combinations, desc="checking", unit="run", leave=False, disable=not sys.stderr.isatty())


def shared_settings(runs: Sequence[Planned], axes: Sequence[Axis]) -> dict[str, Any]:
    """Return the settings that no axis changes, by their keys, and hashes of the files of the data among them."""
    names = [axis.name for axis in axes]
    found = {
        key: value
        for key, value in flat(runs[0].checked.settings).items()
        if not any(f"{key}.".startswith(f"{name}.") for name in names)
    }
    files = {f"content of {path}": content_of(path) for key, path in found.items() if _is_data(key, path)}
    return {**found, **files}


def _is_data(key: str, value: Any) -> bool:
    return key.startswith("data.") and isinstance(value, str) and Path(value).is_file()
