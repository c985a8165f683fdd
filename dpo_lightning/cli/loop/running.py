"""Runs the steps of the rounds, each in a process of its own, and goes on where an earlier call was stopped."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from dpo_lightning.cli.loop.journal import check_scorer_kept, is_done, note
from dpo_lightning.cli.loop.steps import Round, Step
from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import replaced
from dpo_lightning.utils.processes import end_with_parent
from dpo_lightning.utils.text import shown

Call = Callable[[Sequence[str]], int]
"""Runs `dpo-lightning` with these words, and returns its exit code."""


def run_rounds(rounds: Sequence[Round], call: Call) -> None:
    """Run all steps that are not done, in order.

    Args:
        rounds: What `plan` returns.
        call: Runs a command.

    Raises:
        InputError: before anything is run, where a step was done by another config; and for a step that fails.
    """
    done = {(step.directory, step.name) for each in rounds for step in each.steps if is_done(step)}
    _check_order(rounds, done)
    for each in rounds:
        if all((step.directory, step.name) in done for step in each.steps):
            print(shown(f"{each.directory.name.replace('-', ' ')}: done, in {each.directory}"), flush=True)
            continue
        write_inputs(each)
        for step in each.steps:
            if (step.directory, step.name) in done:
                print(shown(f"{step.place}: done, in {step.makes}"), flush=True)
            else:
                _run(step, call)


def _check_order(rounds: Sequence[Round], done: set[tuple[Path, str]]) -> None:
    """Refuse a step that was done before one that is not: it was done with what is gone.

    Raises:
        InputError: naming both.
    """
    missing: Step | None = None
    for step in (step for each in rounds for step in each.steps if step.name != "kl"):
        if (step.directory, step.name) not in done:
            missing = missing or step
        elif missing is not None and step.directory.name != "last":
            remedy = f"delete {step.directory} and the rounds after it"
            raise InputError(f"rounds: {step.place}: it was done, and {missing.place}, before it, is not: {remedy}")


def write_inputs(each: Round) -> None:
    """Write the prompts of a round, and the config of its fit."""
    each.directory.mkdir(parents=True, exist_ok=True)
    with replaced(each.directory / "prompts.jsonl") as temporary:
        temporary.write_text("".join(f"{row}\n" for row in each.prompts), encoding="utf-8")
    with replaced(each.directory / "fit.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(_plain(each.fit), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _plain(fit: Any) -> Any:
    return dict(fit)


def command_line(step: Step) -> str:
    """Return a step's command as it can be typed."""
    return shlex.join(["dpo-lightning", *step.words])


def _run(step: Step, call: Call) -> None:
    print(shown(f"{step.place}:\n  {command_line(step)}"), flush=True)
    code = call(step.words)
    if code:
        said = f"its command ended with exit code {code}" if code > 0 else f"its process was killed (signal {-code})"
        raise InputError(f"rounds: {step.place}: {said}: what is done stays; the same command goes on from there")
    if not step.makes.exists():
        raise InputError(f"rounds: {step.place}: its command ended, and {step.makes} is not there")
    if step.name == "score":
        check_scorer_kept(step)
    note(step)


def call_in_process(words: Sequence[str]) -> int:
    """Run `dpo-lightning` in a process that ends with this one; its memory is free for the next one.

    SIGINT and SIGTERM reach it too, so that a fit saves a checkpoint; this process waits for it.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "dpo_lightning", *words],
        preexec_fn=end_with_parent,  # noqa: PLW1509 - one call of prctl, and no thread of ours holds a lock
    )
    before = signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number))
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
