"""`dpo-lightning inspect`: what is in the data, before anything is trained on it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dpo_lightning import PreferenceDataModule
from dpo_lightning.cli.data_of_config import NO_POLICY, DataOfConfig, data_of_config
from dpo_lightning.cli.model_scores import model_scores
from dpo_lightning.cli.parsers.inspect import OF_A_FILE, parser
from dpo_lightning.cli.surveys import survey
from dpo_lightning.data.inspect import EXIT_CODES, Report, Survey
from dpo_lightning.data.inspect.page import write_page
from dpo_lightning.data.inspect.scores import ModelScores
from dpo_lightning.data.inspect.terminal import print_report
from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import check_writable
from dpo_lightning.utils.settings import at_least
from dpo_lightning.utils.text import shown

_OF_TOKENS = "max_length", "max_prompt_length", "chat_template", "chat_template_kwargs", "scored", "eos"
_OTHER_DATA = frozenset({"--config", "-c", "--data", "--data.dataset", "--data.sources"})
_SCORED = 256  # examples that a model scores where it is named and no number is


def inspect(arguments: Sequence[str]) -> None:
    """Look at the data of a config, or at a file; exits 3 where the gravest finding is a warning, 4 for an error.

    Raises:
        InputError: for a source that cannot be read, and an option that means nothing here.
    """
    file, words = _file_in(arguments)
    options, rest = parser(file is not None).parse_known_args(words)
    _check_options(options)
    if file is not None:
        _check_alone(file, rest)
    found = data_of_config(rest if file is None else [*_words_of_file(file, options), *rest])
    report = _report(found, options, of_file=file is not None)
    if options.html is not None:
        write_page(report, options.html)
    if options.json:
        print(report.document())
    else:
        print_report(report, Console(highlight=False, soft_wrap=False))
    if options.html is not None:
        print(shown(f"the report as a page: {options.html}"), file=sys.stderr)
    if code := EXIT_CODES[report.severity]:
        sys.exit(code)


def _file_in(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    words = list(arguments)
    return (None, words) if not words or words[0].startswith("-") else (words[0], words[1:])


def _check_options(options: argparse.Namespace) -> None:
    """Refuse numbers out of range, and a page in the place of what may be the data or the config.

    Raises:
        InputError: also for a path that cannot be written.
    """
    at_least(1).check("inspect --most_rows", options.most_rows)
    if options.scored_rows is not None:
        at_least(0).check("inspect --scored_rows", options.scored_rows)
    path = options.html
    if path is None:
        return
    check_writable("inspect --html", path, directory=False)
    if not path.lower().endswith((".html", ".htm")):
        raise InputError(f"inspect --html: {path}: the report is a page: give a path that ends in .html")


def _check_alone(file: str, words: Sequence[str]) -> None:
    """Refuse what names other data beside a file.

    Raises:
        InputError: naming it.
    """
    for word in words:
        name = word.partition("=")[0]
        if name in _OTHER_DATA:
            raise InputError(f"inspect {file}: {name} names data too: leave one of them out")


def _check_settings(data: PreferenceDataModule) -> None:
    """Refuse settings of tokens where there is no tokenizer.

    Raises:
        InputError: naming the setting.
    """
    defaults = signature(PreferenceDataModule).parameters
    for name in _OF_TOKENS:
        if (getattr(data, name) or None) != (defaults[name].default or None):
            raise InputError(
                f"inspect: data.{name} is about tokens, and without a tokenizer words are counted: name one with "
                "--tokenizer, or leave it out"
            )


def _words_of_file(file: str, options: argparse.Namespace) -> list[str]:
    given = {name: getattr(options, name) for name in OF_A_FILE}
    settings = [f"--data.{name}={value}" for name, value in given.items() if value is not None]
    return [f"--model.policy={options.model or NO_POLICY}", f"--data.dataset={file}", *settings]


def _report(found: DataOfConfig, options: argparse.Namespace, *, of_file: bool) -> Report:
    if options.scored_rows and found.policy is None:
        raise InputError("inspect --scored_rows: there is no model to score with: name one with --model")
    has_tokenizer = not of_file or found.policy is not None or options.tokenizer is not None
    tokenizer = found.data.tokenizer if has_tokenizer else None
    if tokenizer is None:
        _check_settings(found.data)
    read = survey(found.data, tokenizer, None if of_file else found.read, most_rows=options.most_rows, bar=_bar)
    by_default = _SCORED if of_file and found.policy is not None else 0
    return Report.of(read, _scores(found, read, by_default if options.scored_rows is None else options.scored_rows))


def _scores(found: DataOfConfig, read: Survey, count: int) -> ModelScores | None:
    if not count or found.policy is None or not read.train.kept:
        return None
    progress = sys.stderr.isatty()
    return model_scores(found.policy, found.options, read.train.kept, count, seed=read.seed, progress=progress)


@contextmanager
def _bar(text: str, rows: int) -> Iterator[Callable[[int], Any]]:
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(shown(text), total=rows)
        yield lambda count: progress.advance(task, count)
