"""`dpo-lightning pair`: preference pairs of completions with scores, or of two models."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dpo_lightning.cli.parsers.pair import parser
from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates, candidates_of, json_rows
from dpo_lightning.rounds.kept_rows import content_of, kept_rows
from dpo_lightning.rounds.pairing import Rules, delta_pairs, pair_lines, ranked_pairs, said_of
from dpo_lightning.utils.settings import POSITIVE, check_rules
from dpo_lightning.utils.text import shown

_AT_ONCE = 256  # pairs that are written together


def pair(arguments: Sequence[str]) -> None:
    """Write pairs of the rows of a file.

    Raises:
        InputError: for rows that cannot be read or have no scores, and where no pair comes of them.
    """
    options = parser().parse_args(arguments)
    _check(options)
    files = [each for each in (options.file, options.other) if each is not None]
    contents = [content_of(each, "pair") for each in files]
    if len(set(contents)) < len(contents):
        raise InputError(f"pair {files[0]} {files[1]}: two files with the same rows: give those of two models")
    left: Counter[str] = Counter()
    unmatched: list[str] = []
    rules = Rules(options.how, options.min_gap or 0.0, options.keep_cut)
    rows, *others = [_read(each) for each in files]
    found = delta_pairs(rows, others[0], rules, left, unmatched) if others else ranked_pairs(rows, rules, left)
    pairs = list(found)
    if not pairs:
        raise InputError(f"pair {files[0]}: no pair comes of {len(rows)} rows: {said_of(left)}")
    _write(pairs, options.out, {"command": "pair", **rules._asdict(), "files": contents})
    lines = pair_lines(pairs, len(rows), left)
    lines += [f"the first prompt without a row in the other file: {unmatched[0]}"] if unmatched else []
    for line in [*lines, f"pairs in {options.out}"]:
        print(shown(line))


def _check(options: Namespace) -> None:
    if (options.how == "delta") != (options.other is not None):
        said = "a second file is" if options.other else "give a second file, that of the weaker model:"
        raise InputError(f"pair --how {options.how}: {said} for --how delta, which takes its rows as rejected")
    if options.out.resolve() in [each.resolve() for each in (options.file, options.other) if each is not None]:
        raise InputError(f"pair --out: {options.out} is a file that is read: give another path")
    check_rules("pair --", options, min_gap=POSITIVE)


def _read(file: Path) -> list[tuple[str, Candidates]]:
    return [(line, candidates_of(row, line)) for line, row in json_rows(file, "pair")]


def _write(pairs: Sequence[dict[str, Any]], out: Path, made: dict[str, Any]) -> None:
    with kept_rows(out, made, "pair --out") as kept:
        for start in () if kept.whole else range(kept.done, len(pairs), _AT_ONCE):
            kept.add(pairs[start : start + _AT_ONCE])
