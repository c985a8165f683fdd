"""Notes of what is done of a round: one of each step, written when its command has ended well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dpo_lightning.cli.loop.steps import Step
from dpo_lightning.errors import InputError
from dpo_lightning.report.record import read_document, write_document
from dpo_lightning.rounds.kept_rows import content_of
from dpo_lightning.utils.text import one_line

_NOTES = "steps.json"


def is_done(step: Step) -> bool:
    """Say whether a step was done, by this config.

    Raises:
        InputError: for a step that was done by another config, and where what it made is gone or was changed.
    """
    noted = (read_document(step.directory / _NOTES) or {}).get(step.name)
    if noted is None:
        return False
    remedy = f"give another --out, or delete {step.directory} and the rounds after it"
    if differing := _difference(noted["made"], json.loads(json.dumps(step.made))):
        raise InputError(f"rounds: {step.place}: it was done with another config ({differing}): {remedy}")
    if not step.makes.exists():
        raise InputError(f"rounds: {step.place}: it was done, and {step.makes} is gone: {remedy}")
    if noted["content"] != _content(step):
        raise InputError(f"rounds: {step.place}: {step.makes} was changed after it was done: {remedy}")
    return True


def note(step: Step) -> None:
    """Note that a step is done; the note is on disk when this returns."""
    path = step.directory / _NOTES
    notes = read_document(path) or {}
    write_document(path, {**notes, step.name: {"made": step.made, "content": _content(step)}})


def check_scorer_kept(step: Step) -> None:
    """Refuse scores that come from another scorer than those of the rounds before, such as a function that was edited.

    Raises:
        InputError: naming both files and what differs.
    """
    own = _scorer(step.makes)
    for other in sorted(step.directory.parent.glob(f"*/{step.makes.name}")):
        if None not in (own, before := _scorer(other)) and (differing := _difference(before, own)):
            raise InputError(
                f"rounds: {step.place}: the scorer is not that of {other} ({differing}): bring it back and delete "
                f"{step.makes}, or give another --out"
            )


def _scorer(scored: Path) -> Any:
    """Return what a file of scores was made by; None where nothing says it."""
    return (read_document(scored.with_name(f".{scored.name}.made")) or {}).get("scorer")


def _content(step: Step) -> str | None:
    """Return the hash of a file's bytes; None for a model, whose run has its own."""
    return None if step.makes.is_dir() else content_of(step.makes, "rounds")


def _difference(before: Any, now: Any, key: str = "") -> str:
    """Name the first place where two documents differ, with both values."""
    if before == now:
        return ""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        return _difference(before.get(names[0]), now.get(names[0]), f"{key}.{names[0]}".lstrip("."))
    if key == "command":
        gone, new = ([word for word in one if word not in other] for one, other in ((before, now), (now, before)))
        return f"{' '.join(gone) or 'without'} then, {' '.join(new) or 'without'} now"
    return f"{key} {one_line(json.dumps(before), 60)} then, {one_line(json.dumps(now), 60)} now"
