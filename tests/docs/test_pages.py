"""Every block of code and every command of the README and of docs/ does what a reader would do with it.

A page is read from top to bottom in a directory of its own, in which names of the hub are tiny local models and the
files of rows that pages name are there (`stand_ins.py`). Python blocks of a page share one namespace. A block with a
title is a file of that name; a YAML block without one is parsed by the command's own parser.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

from tests.docs import commands, stand_ins
from tests.docs.blocks import PAGES, REASONS, Block, blocks_of, commands_in
from tests.helpers.sweeps import forked

SHELLS = {"bash", "sh", "zsh", "fish"}
SHOWN_ONLY = {"text", "mermaid", "console"}
NEEDED = {"model": {"policy": "my/model"}, "data": {"dataset": "pairs.jsonl"}}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models, made once."""
    return stand_ins.models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def here(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A reader's directory, from which modules are imported too; loggers and imports are as they were afterwards."""
    stand_ins.furnish(tmp_path, made)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("dpo_lightning.cli.commands.rounds.call_in_process", commands.ended_with)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr("dpo_lightning.cli.sweeps.processes.start", forked)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # the pages are for one CPU here
    known, filters = set(sys.modules), {name: [*logging.getLogger(name).filters] for name in ("lightning.pytorch",)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    for name, before in filters.items():
        logging.getLogger(name).filters[:] = before


@pytest.fixture(scope="session")
def earlier(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Where a run has left its checkpoints, its exports and its logs; it is made when a page first names one."""

    @cache
    def ran() -> Path:
        place, before = tmp_path_factory.mktemp("earlier"), Path.cwd()
        stand_ins.furnish(place, made)
        os.chdir(place)
        try:
            commands.call(["fit", "--config", "run.yaml"])
        finally:
            os.chdir(before)
        return place

    return ran


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)])
def test_the_blocks_of_a_page_run(page: str, here: Path, earlier: Callable[[], Path]) -> None:
    scope = ModuleType("__main__")
    for block in blocks_of(page):
        try:
            do(block, scope, earlier)
        except (Exception, pytest.fail.Exception) as error:
            raise AssertionError(f"{block.place}: {error}") from error


def do(block: Block, scope: ModuleType, earlier: Callable[[], Path]) -> None:
    """Do with a block what a reader does with it."""
    if block.title:
        keep(block)
    elif block.language == "python":
        run_python(block, scope)
    elif block.language == "yaml":
        parse_config(block)
    elif block.language in SHELLS:
        for line in commands_in(block.text):
            commands.run(line, earlier, parsed_only=bool(block.reason))
    elif block.language in ("json", "jsonl"):
        rows_of(block)
    else:
        assert block.language in SHOWN_ONLY, f"what is `{block.language}`?"


def keep(block: Block) -> None:
    """Write the file that a block is; of rows, as many more of their kind as a run needs."""
    place = Path(block.title)
    assert not place.is_absolute()
    place.parent.mkdir(parents=True, exist_ok=True)
    if block.language == "jsonl":
        made = stand_ins.FILES[block.title]
        shown = rows_of(block)
        assert all(row.keys() <= made(0).keys() for row in shown), f"{block.title} has other columns than its stand-in"
        stand_ins.write(place, [*shown, *map(made, range(40))])
        return
    place.write_text(block.text)
    if block.language == "yaml":
        parse_config(block)


def rows_of(block: Block) -> list[stand_ins.Row]:
    """Read a block of JSON lines."""
    return [json.loads(line) for line in block.text.splitlines() if line.strip()]


def run_python(block: Block, scope: ModuleType) -> None:
    """Run a block where the page's earlier ones ran."""
    code = compile(block.text, block.place, "exec")
    if not block.reason:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, scope.__dict__)


def parse_config(block: Block) -> None:
    """Parse a part of a config, or a whole one, as the command would."""
    given = yaml.safe_load(block.text)
    assert isinstance(given, dict), "a config is a mapping"
    if "rounds" in given:
        commands.call(["rounds", "--config", block.title, "--print"])
        return
    for section, needed in NEEDED.items():
        if "class_path" not in (given.get(section) or {}) and "sources" not in (given.get(section) or {}):
            given[section] = {**needed, **(given.get(section) or {})}
    place = Path("block.yaml")
    place.write_text(yaml.safe_dump(given))
    commands.call(["fit", "--config", str(place), "--print_config"])


def test_only_reasons_of_the_list_keep_a_block_from_running() -> None:
    given = {block.reason for page in PAGES for block in blocks_of(page)} - {""}
    assert given <= set(REASONS), f"{given - set(REASONS)} is no reason that tests/docs/blocks.py knows"
