"""`dpo-lightning doctor`: what this installation and this machine can do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence

from dpo_lightning.cli.installation import Check, checks, layout_check
from dpo_lightning.cli.parsers.doctor import parser
from dpo_lightning.cli.quiet import leave_out_noise
from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import nearest, shown


def doctor(arguments: Sequence[str]) -> None:
    """Print what works and what does not; exits 1 where something that was asked for does not work.

    Raises:
        InputError: for a model that cannot be loaded, and a need that is not one of the things that are looked at.
    """
    options = parser().parse_args(arguments)
    leave_out_noise()
    found = list(checks())
    needed = _needed(options.need, found)
    if options.model is not None:
        found.append(layout_check(options.model))
        needed.append(found[-1])
    missing = [each for each in needed if not each.works]
    if options.json:
        print(json.dumps({"works": not missing, "checks": [each._asdict() for each in found]}, indent=1))
    else:
        print(shown("\n".join(_lines(found))))
    if missing:
        names = ", ".join(dict.fromkeys(each.name for each in missing))
        print(f"error: asked for, and does not work here: {names}", file=sys.stderr)
        sys.exit(1)


def _needed(names: Iterable[str], found: Sequence[Check]) -> list[Check]:
    """Return the checks of the names; of several GPUs, or packages of an extra, all."""
    known = list(dict.fromkeys(each.name for each in found))
    for name in names:
        if name not in known:
            close = nearest(name, known)
            remedy = f"did you mean `{close}`?" if close else f"there are {', '.join(known)}"
            raise InputError(f"doctor --need {name}: nothing of that name is looked at; {remedy}")
    return [each for each in found if each.name in {*names}]


def _lines(found: Sequence[Check]) -> Iterator[str]:
    group = ""
    for each in found:
        if each.group != group:
            group = each.group
            yield f"{group}:"
        yield f"  {'ok' if each.works else 'no':<4}{each.name:<18}{each.text}"
        if not each.works and each.remedy:
            yield f"{'':24}-> {each.remedy}"
