"""Runs, found by a path and read from their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from dpo_lightning.errors import InputError
from dpo_lightning.report.paths import portable
from dpo_lightning.report.record import FOLDER, RunRecord, read_document, read_rows
from dpo_lightning.utils.secrets import masked
from dpo_lightning.utils.text import one_line

Row = Mapping[str, Any]
_DEPTH = 4  # folders below a directory in which runs are looked for
_GREATEST = 1e100  # of which the difference is still a number
_LONGEST_TITLE = 120
_UP = 3  # folders above a checkpoint in which its run is looked for
_LOGS = "lightning_logs"  # where Lightning's loggers write if nobody says otherwise
_NUMBER, _TEXT, _LIST, _OBJECT = (int, float), str, list, dict
_FACTS = {
    **dict.fromkeys(("seconds", "step", "epoch", "steps_planned", "seed", "memory_peak"), _NUMBER),
    **dict.fromkeys(("began", "ended", "status", "reference", "layout", "layout_why"), _TEXT),
    **dict.fromkeys(("command", "resumed", "verdict"), _LIST),
    **dict.fromkeys(("versions", "machine", "model", "objective", "optimizer", "data", "places"), _OBJECT),
}
_PAIR = {
    "set": _TEXT,
    "source": _TEXT,
    **dict.fromkeys(("tokens", "chosen_tokens", "rejected_tokens", "loss"), _NUMBER),
    **{f"{name}{of}": _NUMBER for name in ("rewards", "logps", "logratios") for of in ("", "/chosen", "/rejected")},
}
_WORST = {**_PAIR, **dict.fromkeys(("prompt", "chosen", "rejected"), _TEXT)}
_SAMPLE = {"step": _NUMBER, "prompt": _TEXT, "policy": _LIST, "reference": _LIST, "rewards": _OBJECT}
_HINT = {"step": _NUMBER, **dict.fromkeys(("name", "text", "severity"), _TEXT)}
_DATA = {
    **dict.fromkeys(("source", "format", "severity"), _TEXT),
    **dict.fromkeys(("splits", "lengths"), _OBJECT),
    "findings": _LIST,
}


@dataclass(frozen=True)
class Run:
    """Contents of the files that a run has left, with paths as a page may show them, see `portable`.

    Args:
        directory: That of the run, in which `record` lies.
        facts: Contents of `run.json`.
        points: Rows of `metrics.jsonl`.
        pairs: Rows of `pairs.jsonl`.
        worst: Rows of `worst.jsonl`.
        samples: Rows of `samples.jsonl`.
        hints: Rows of `hints.jsonl`.
        data: Contents of `data.json`; None where there is none.
        config: Contents of `config.yaml`, secrets masked; None where there is none.
        place: Path of the directory; None shows it as it is given.
    """

    directory: Path
    facts: Row = field(default_factory=dict)
    points: Sequence[Row] = ()
    pairs: Sequence[Row] = ()
    worst: Sequence[Row] = ()
    samples: Sequence[Row] = ()
    hints: Sequence[Row] = ()
    data: Row | None = None
    config: Row | None = None
    place: str | None = None

    @classmethod
    def read(cls, directory: Path) -> Run:
        """Read the files of a run; those that are not there have no contents.

        Raises:
            InputError: for a file that is damaged, in one line with the file and the place in it.
        """
        record = RunRecord(directory)
        try:
            facts = _document(record.facts, _FACTS) or {}
            seen = _portable_of(facts)
            return cls(
                directory,
                seen(facts),
                _checked_rows(record.points, {}, other=_NUMBER),
                [*map(_of_source(seen), _checked_rows(record.pairs, _PAIR))],
                [*map(_of_source(seen), _checked_rows(record.worst, _WORST))],
                _checked_rows(record.samples, _SAMPLE),
                seen(_checked_rows(record.hints, _HINT)),
                seen(_document(record.data, _DATA)),
                seen(_config(directory / "config.yaml")),
                seen(str(directory.resolve())),
            )
        except RecursionError:
            raise InputError(
                f"{directory}: a file of the run holds lists in lists without end: it is damaged"
            ) from None

    @cached_property
    def metrics(self) -> dict[str, list[tuple[float, float | None]]]:
        """Points of each metric: step and value, None for one that is not finite; in the order of the steps."""
        found: dict[str, list[tuple[float, float | None]]] = {}
        for row in self.points:
            step = finite(row.get("step"))
            for name, value in row.items():
                if name not in ("step", "seconds") and step is not None:
                    found.setdefault(name, []).append((step, finite(value)))
        return {name: sorted(points, key=lambda point: point[0]) for name, points in found.items()}

    @property
    def title(self) -> str:
        """Objective and model as far as they are known, else the name of the directory."""
        objective, model = self.of("objective", "name"), self.of("model", "name")
        known = " of ".join(str(each) for each in (objective, model) if each)
        return known[:_LONGEST_TITLE] or self.directory.resolve().name

    def of(self, *keys: str) -> Any:
        """Return a fact by its keys in `run.json`; None where it is not there."""
        found: Any = self.facts
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def last(self, name: str) -> float | None:
        """Return the last known value of a metric."""
        return next((value for _, value in reversed(self.metrics.get(name, [])) if value is not None), None)


def finite(value: Any) -> float | None:
    """Return a number as a float; None for what is no number, or none that a chart can have."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if abs(found) < _GREATEST else None


def runs_at(path: Path) -> list[Path]:
    """Return the directories of the runs that a path names.

    Args:
        path: That of a run; of a checkpoint in or below it, or one that a run names whose directory lies in the
            `lightning_logs` here, beside the checkpoint or above it; or a directory of runs, such as `lightning_logs`.

    Raises:
        InputError: for a path that names none, with those that lie further below.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such directory")
    start = path if path.is_dir() else path.parent
    if above := next((each for each in (start, *_parents(start)) if _is_run(each)), None):
        return [above]
    below = [*_below(start, _DEPTH)]
    direct = sorted((each for each in below if each.parent == start), key=_natural)
    if direct:
        return direct
    if (saved := _run_of_checkpoint(path.resolve())) is not None:
        return [saved]
    if len(below) == 1:
        return below
    said = (
        f"the runs below it are {', '.join(map(str, sorted(below, key=_natural)[:8]))}"
        if below
        else f"none lies below, and none in {_LOGS} names it as its checkpoint: give a run's, as {_LOGS}/version_0"
    )
    raise InputError(f"{path}: no directory of a run, which has a folder `{FOLDER}` in it; {said}")


def _run_of_checkpoint(path: Path) -> Path | None:
    """Return the run that saved a checkpoint, or the last one that saved in a directory; None where none is found."""
    near = dict.fromkeys(each / _LOGS for each in (Path.cwd(), path, *_parents(path)))
    found = [(saved, run) for logs in near for run in _below(logs, 2) if (saved := _checkpoint_of(run)) is not None]
    found.sort(key=lambda each: _natural(each[1]))
    own = [run for saved, run in found if saved == path]
    beside = [run for saved, run in found if saved.parent == (path.parent if path.suffix == ".ckpt" else path)]
    return next(iter([*reversed(own), *reversed(beside)]), None)


def _checkpoint_of(run: Path) -> Path | None:
    """Return where the checkpoint of a run lies; None where its record does not say so, or cannot be read."""
    with suppress(InputError):
        places = (read_document(RunRecord(run).facts) or {}).get("places")
        saved = places.get("checkpoint") if isinstance(places, Mapping) else None
        return Path(saved).resolve() if isinstance(saved, str) else None
    return None


def names_of(directories: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that tell them from each other, without what all have in common.

    Two times the same path is told by a number.
    """
    parts = [each.resolve().parts for each in directories]
    if len({*parts}) < 2:
        ends = [part[-1:] for part in parts]
    else:
        depth = next(each for each in range(1, max(map(len, parts)) + 1) if _tell(parts, each))
        ends = [part[-depth:] for part in parts]
        while depth > 1 and len({end[-1] for end in ends}) == 1:  # `lightning_logs/version_0` at the end of all
            ends, depth = [end[:-1] for end in ends], depth - 1
    names = [str(Path(*end)) for end in ends]
    return [f"{name} ({names[:at].count(name) + 1})" if name in names[:at] else name for at, name in enumerate(names)]


def _tell(paths: Sequence[tuple[str, ...]], depth: int) -> bool:
    """Return whether the last parts of paths tell those that differ."""
    return len({path[-depth:] for path in paths}) == len({*paths})


def _is_run(path: Path) -> bool:
    return any(file.is_file() for file in (RunRecord(path).facts, RunRecord(path).points))


def _parents(path: Path) -> Iterable[Path]:
    return list(path.resolve().parents)[:_UP]


def _below(path: Path, depth: int) -> Iterator[Path]:
    try:
        inner = [each for each in path.iterdir() if each.is_dir() and not each.is_symlink()]
    except OSError:
        return
    for each in inner:
        if _is_run(each):
            yield each
        elif depth > 1:
            yield from _below(each, depth - 1)


def _natural(path: Path) -> tuple[str, int, str]:
    """Sort `version_10` behind `version_9`."""
    stem = path.name.rstrip("0123456789")
    return str(path.parent / stem), int(path.name[len(stem) :] or 0), path.name


def _portable_of(facts: Row) -> Callable[[Any], Any]:
    """Return what shows a value of a run as a page may, by where that run was started, and in whose home."""
    places = facts.get("places") or {}
    known = (places.get(name) for name in ("started_in", "home"))
    started_in, home = (each if isinstance(each, str) else None for each in known)
    return lambda value: portable(value, started_in, home)


def _of_source(seen: Callable[[Any], Any]) -> Callable[[Row], Row]:
    """Return what shows the source of a row as a page may; its texts are the data's, and stay."""
    return lambda row: {**row, "source": seen(row["source"])} if "source" in row else row


def _document(path: Path, kinds: Mapping[str, Any]) -> Row | None:
    found = read_document(path)
    if found is not None:
        _check(str(path), found, kinds)
    return found


def _checked_rows(path: Path, kinds: Mapping[str, Any], other: Any = object) -> list[dict[str, Any]]:
    rows = read_rows(path)
    for number, row in enumerate(rows, start=1):
        _check(f"{path}, line {number}", row, kinds, other)
    return rows


def _check(place: str, row: Row, kinds: Mapping[str, Any], other: Any = object) -> None:
    """Refuse a value of another kind than the record has there; null is none.

    Raises:
        InputError: with the place and the key.
    """
    for name, value in row.items():
        if value is not None and not isinstance(value, kinds.get(name, other)):
            raise InputError(f"{place}: `{name}` is a {type(value).__name__}: the file is damaged")


def _config(path: Path) -> Row | None:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {one_line(error)}") from None
    if not isinstance(found, Mapping):
        raise InputError(f"{path}: a {type(found).__name__}, not a mapping of settings")
    return masked(found)
