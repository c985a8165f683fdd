"""The steps of all rounds: which command with which words makes which file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from dpo_lightning.cli.loop.fits import fit_of_round
from dpo_lightning.cli.loop.options import words_of
from dpo_lightning.cli.loop.settings import LoopConfig
from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import json_rows

LAST = "last"
"""Directory of the samples of the last policy."""


class Step(NamedTuple):
    """A command of a round.

    Attributes:
        directory: Directory of the round, `round-1` and so on, or `last`.
        name: What it does: a command, or `kl`.
        words: The command and its arguments.
        makes: File or directory that is there when it is done.
        made: What decides on that, as JSON: the same step of another config differs here.
    """

    directory: Path
    name: str
    words: list[str]
    makes: Path
    made: Mapping[str, Any]

    @property
    def place(self) -> str:
        """Name of round and step, for a line."""
        return f"{self.directory.name.replace('-', ' ')}, {self.name}"


class Round(NamedTuple):
    """A round: its files that are there before its steps, and the steps.

    Attributes:
        directory: Its directory.
        prompts: Rows of its prompts.
        fit: Config of its fit; None for the samples of the last policy.
        steps: Its steps, in order.
    """

    directory: Path
    prompts: list[str]
    fit: Mapping[str, Any] | None
    steps: list[Step]


def plan(config: LoopConfig) -> list[Round]:
    """Return all rounds of a config; nothing is written.

    Raises:
        InputError: for an option that a command does not take, and prompts that cannot be read or are too few.
    """
    loop, out = config.loop, Path(config.loop.out)
    rows, policy = _prompts(Path(loop.prompts)), loop.policy
    taken = loop.prompts_per_round or len(rows)
    if loop.prompts_per_round is not None and loop.number * taken > len(rows):
        raise InputError(
            f"rounds.prompts_per_round: {loop.number} rounds of {taken} take {loop.number * taken} prompts, and "
            f"{loop.prompts} has {len(rows)}: lower it, or give null for all of them in each round"
        )
    rounds = []
    for number in range(loop.number):
        directory = out / f"round-{number + 1}"
        start = number * loop.prompts_per_round if loop.prompts_per_round else 0
        fit = fit_of_round(config.fit, loop, policy, directory)
        rounds.append(_round(config, directory, policy, rows[start : start + taken], fit))
        policy = (directory / "model").as_posix()
    if loop.last:
        fit = fit_of_round(config.fit, loop, policy, out / LAST)
        closing = _round(config, out / LAST, policy, rows[:taken], fit)
        steps = [step for step in closing.steps if step.name not in ("pair", "fit")]
        rounds.append(closing._replace(steps=steps))
    return rounds


def _prompts(file: Path) -> list[str]:
    """Return the rows of a file of prompts, each as a line."""
    return [json.dumps(row, ensure_ascii=False) for _, row in json_rows(file, "rounds.prompts")]


def _round(config: LoopConfig, directory: Path, policy: str, prompts: list[str], fit: Mapping[str, Any]) -> Round:
    steps = [
        Step(directory, name, words, directory / makes, _made(config, directory, name, words, prompts, fit))
        for name, words, makes in _commands(config, directory, policy)
    ]
    return Round(directory, prompts, fit, steps)


def _commands(config: LoopConfig, directory: Path, policy: str) -> Iterator[tuple[str, list[str], str]]:
    """Yield name, words and file of each step."""
    at, loop, options = directory.as_posix(), config.loop, config.options
    yield "generate", _generate(config, directory, policy), "samples.jsonl"
    scoring = ["score", f"{at}/samples.jsonl", "--out", f"{at}/scored.jsonl", *words_of("score", options["score"])]
    yield "score", scoring, "scored.jsonl"
    if loop.kl and policy != loop.policy:
        # Beta 1 makes the implicit reward the log-ratio, whose mean over a policy's own samples is the divergence.
        ratio = ["--run", policy, "--reference", loop.policy, "--beta", "1", "--config", f"{at}/fit.yaml"]
        yield "kl", ["score", f"{at}/samples.jsonl", "--out", f"{at}/kl.jsonl", *ratio], "kl.jsonl"
    pairing = ["pair", f"{at}/scored.jsonl", "--out", f"{at}/pairs.jsonl", *words_of("pair", options["pair"])]
    yield "pair", pairing, "pairs.jsonl"
    yield "fit", ["fit", "--config", f"{at}/fit.yaml", "--ckpt_path", "last"], "model"


def _generate(config: LoopConfig, directory: Path, policy: str) -> list[str]:
    """Return the words of `generate`, with a seed of each round's own."""
    at, given = directory.as_posix(), dict(config.options["generate"])
    seed = given.pop("seed", None) or 0
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InputError(f"generate.seed: a whole number, got {seed!r}")
    later = config.loop.number if directory.name == LAST else int(directory.name.rpartition("-")[2]) - 1
    files = ["--config", f"{at}/fit.yaml", "--prompts", f"{at}/prompts.jsonl", "--out", f"{at}/samples.jsonl"]
    return ["generate", policy, *files, *words_of("generate", given), "--seed", str(seed + later)]


def _made(
    config: LoopConfig, directory: Path, name: str, words: list[str], prompts: list[str], fit: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what decides on a step, without the place of the rounds, which may be moved."""
    out = f"{directory.parent.as_posix()}/"
    inside = [word.startswith(out) for word in words]
    moved = [word.replace(out, "", 1) if within else word for word, within in zip(words, inside, strict=True)]
    made: dict[str, Any] = {"command": moved}
    if name == "generate":
        made["prompts"] = blake2b("\n".join(prompts).encode(), digest_size=16).hexdigest()
    if name == "fit":
        made["config"] = json.loads(json.dumps(fit).replace(json.dumps(out)[:-1], '"'))
    return made
