"""Processes without an interpreter of their own: forked from one that has imported everything, which takes seconds."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.helpers.resumable import in_processes, launch

REPOSITORY = Path(__file__).resolve().parents[2]


def run_ranks(target: Callable[..., None], *args: Any, output: Path, ranks: int = 2, timeout: float = 300) -> None:
    """Call `target(*args)` in each rank, as torchrun starts them, without its agent; fail with what they wrote."""
    succeed(in_processes(ranks, _as_torchrun, target, *args, output=output, timeout=timeout), output)


def _as_torchrun(rank: int, target: Callable[..., None], *args: Any) -> None:
    ranks = os.environ["WORLD_SIZE"]
    del os.environ["NODE_RANK"]
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=ranks, GROUP_RANK="0", TORCHELASTIC_RUN_ID="tests"
    )
    target(*args)


def run_command(words: list[str], directory: Path, ranks: int = 1, timeout: float = 300) -> list[int]:
    """Run `python -m dpo_lightning` in a directory, on so many ranks of Lightning's; the exit codes.

    What rank 0 prints is in `output-0.txt` there.
    """
    return in_processes(ranks, as_command, words, directory, cache(), output=directory, timeout=timeout)


def start_command(words: list[str], directory: Path) -> Any:
    """Start `python -m dpo_lightning` in a directory, in one process, and return it."""
    return launch(1, directory, lambda rank: (as_command, (rank, words, directory, cache()), {}))[0]


def cache() -> dict[str, str]:
    """The place of caches as this test has it: the process that is forked began before the test."""
    return {name: os.environ[name] for name in ("XDG_CACHE_HOME",) if name in os.environ}


def as_command(_: int, words: list[str], directory: Path, variables: Mapping[str, str]) -> None:
    """Be `python -m dpo_lightning` in a directory."""
    os.environ.update(variables)
    os.chdir(directory)
    sys.path.insert(0, str(directory))  # as -m does
    sys.argv = ["dpo-lightning", *words]
    runpy.run_module("dpo_lightning", run_name="__main__", alter_sys=False)


def succeed(codes: list[int], output: Path) -> None:
    """Assert that all processes ended well.

    Raises:
        AssertionError: with the end of what each of them printed.
    """
    assert not any(codes), "\n".join(path.read_text()[-4000:] for path in sorted(output.glob("output-*.txt")))
