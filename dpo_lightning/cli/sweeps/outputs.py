"""Places that a run of a sweep writes to: all of them below its own directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dpo_lightning.errors import InputError
from dpo_lightning.report.defaults import short_name
from dpo_lightning.utils.files import is_local

_DIRECTORIES = ("save_dir", "log_dir", "output_dir", "root_dir")
_ENTRIES = ("dirpath", "path", "merged_path")
_NUMBERED = ("CSVLogger", "TensorBoardLogger")
"""Loggers that keep their files in a directory with the number of the run."""
_ONE_RUN = {"WandbLogger": ("id", "version"), "CometLogger": ("experiment_key",), "MLFlowLogger": ("run_id",)}
"""Arguments that name one run of a service."""
_KNOWN = ("dpo_lightning.", "lightning.", "pytorch_lightning.")


def own_outputs(trainer: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Return the Trainer's settings of a run whose outputs all lie in a directory of its own.

    What lies below one directory in the config lies in the same way below the run's. The first logger keeps metrics and
    record in that directory itself; without one, a `CSVLogger` does.

    Args:
        trainer: All settings of the Trainer, as a saved config has them.
        directory: The run's.

    Returns:
        `default_root_dir`, `logger`, `callbacks` and `profiler`, which take the place of the config's.

    Raises:
        InputError: for a place that all runs would write to and that cannot be moved, and a Trainer that keeps no
            metrics.
    """
    if trainer.get("logger") in (False, []) or trainer.get("barebones"):
        raise InputError("sweep: trainer.logger is false: a sweep compares what its runs log: leave it out")
    if trainer.get("fast_dev_run"):
        raise InputError("sweep: trainer.fast_dev_run leaves no metrics to compare: take trainer.max_steps")
    objects = {name: _list_of(trainer.get(name)) for name in ("logger", "callbacks", "profiler")}
    for place, each in _placed(objects):
        _refuse_shared(place, each)
    given = trainer.get("default_root_dir")
    if given is not None and not is_local(given):
        raise InputError(
            f"sweep: trainer.default_root_dir: all runs would write to {given}: give a local path, or --out"
        )
    root = _common([path for _, each in _placed(objects) for path in _roots(each)])
    moved = {name: [_moved(each, root, directory) for each in found] for name, found in objects.items()}
    first = _first_logger(objects["logger"], directory)
    found: dict[str, Any] = {"default_root_dir": str(directory), "logger": [*first, *moved["logger"][len(first) :]]}
    if not objects["logger"]:
        found["logger"] = [_csv(directory)]
    if objects["callbacks"]:
        found["callbacks"] = moved["callbacks"]
    if objects["profiler"]:
        found["profiler"] = moved["profiler"][0]
    return found


def _list_of(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a key: a list, one, or none; a name alone, as of a profiler, writes nothing."""
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, dict)]


def _placed(objects: Mapping[str, list[dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, found in objects.items():
        for each in found:
            yield f"trainer.{name}: {short_name(each['class_path'])}", each


def _arguments(each: Mapping[str, Any]) -> Mapping[str, Any]:
    return each.get("init_args") or {}


def _places(each: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the arguments that name places, with the paths."""
    for name, value in _arguments(each).items():
        if name in (*_DIRECTORIES, *_ENTRIES) and isinstance(value, str):
            yield name, value


def _refuse_shared(place: str, each: Mapping[str, Any]) -> None:
    for name, path in _places(each):
        if not is_local(path):
            raise InputError(
                f"sweep: {place}.{name}: all runs would write to {path}, not on this machine: give a local path"
            )
    for name in _ONE_RUN.get(short_name(each["class_path"]), ()):
        if _arguments(each).get(name) is not None:
            raise InputError(f"sweep: {place}.{name} names one run, and there are several: leave it out")
    _refuse_one_target(place, each)
    if each["class_path"].startswith(_KNOWN):
        return
    for name, value in _arguments(each).items():
        is_place = name in (*_DIRECTORIES, *_ENTRIES)
        if isinstance(value, str) and os.sep in value and not is_place and not Path(value).exists():
            raise InputError(
                f"sweep: {place}.{name}: all runs might write to {value}: call the argument path, dirpath or save_dir, "
                "which a sweep moves into each run's directory"
            )


def _refuse_one_target(place: str, each: Mapping[str, Any]) -> None:
    """Refuse a repository, and a file that no directory moves."""
    if (repository := _arguments(each).get("push_to")) is not None:
        raise InputError(
            f"sweep: {place}.push_to: all runs would push to {repository}: leave it out, and push the best one with "
            "`dpo-lightning export RUN --push_to`"
        )
    if os.path.isabs(file := str(_arguments(each).get("filename") or "")):
        raise InputError(f"sweep: {place}.filename: all runs would write to {file}: give dirpath, and a name in it")


def _roots(each: Mapping[str, Any]) -> Iterator[Path]:
    for name, path in _places(each):
        yield Path(path).absolute() if name in _DIRECTORIES else Path(path).absolute().parent


def _common(paths: list[Path]) -> Path:
    return Path(os.path.commonpath(paths)) if paths else Path.cwd()


def _moved(each: dict[str, Any], root: Path, directory: Path) -> dict[str, Any]:
    own = {name: str(directory / os.path.relpath(Path(path).absolute(), root)) for name, path in _places(each)}
    return {**each, "init_args": {**_arguments(each), **own}} if own else each


def _first_logger(loggers: list[dict[str, Any]], directory: Path) -> list[dict[str, Any]]:
    """Return the first logger alone, writing right into the run's directory; none where there is none."""
    for each in loggers[:1]:
        given = _arguments(each)
        numbered = {"name": "", "version": ""} if short_name(each["class_path"]) in _NUMBERED else {}
        own = {name: str(directory) for name in _DIRECTORIES if name in given}
        own |= {name: str(directory / Path(path).name) for name, path in _places(each) if name in _ENTRIES}
        return [{**each, "init_args": {**given, **own, **numbered}}]
    return []


def _csv(directory: Path) -> dict[str, Any]:
    arguments = {"save_dir": str(directory), "name": "", "version": ""}
    return {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": arguments}
