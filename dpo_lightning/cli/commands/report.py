"""`dpo-lightning report`: the page of a run, or of several, from their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpo_lightning.cli.parsers.report import parser
from dpo_lightning.errors import InputError
from dpo_lightning.report.page.whole import write_report
from dpo_lightning.report.runs import runs_at
from dpo_lightning.utils.files import check_writable, from_here
from dpo_lightning.utils.text import shown


def report(arguments: Sequence[str]) -> None:
    """Write the page and say where it is.

    Raises:
        InputError: for a path that names no run, a file of a record that is damaged, and a page that cannot be written.
    """
    options = parser().parse_args(arguments)
    if options.out is not None:
        _check_out(options.out)
    found = {each.resolve(): each for path in options.runs for each in runs_at(path)}
    try:
        page = write_report([*found.values()], options.out)
    except OSError as error:
        raise InputError(
            f"the page cannot be written: {error.filename}: {error.strerror}: name one with --out"
        ) from None
    print(shown(f"report in {from_here(page)}"))


def _check_out(path: Path) -> None:
    """Refuse what is no page before anything is read.

    Raises:
        InputError: naming the path.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"report --out: {path}: the report is a page: give a path that ends in .html")
    check_writable("report --out", path, directory=False)
