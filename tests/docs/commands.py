"""Lines of shell on the pages: the package's own run in this process, others are looked up."""

from __future__ import annotations

import configparser
import contextlib
import io
import itertools
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from dpo_lightning.cli.door import main
from tests.docs import stand_ins
from tests.docs.blocks import ROOT
from tests.helpers.endpoint import stand_in

FINDINGS = {"inspect": {0, 3}}  # the doctor's exit code says that there are warnings
JOINS = {"|", ">", "2>&1", "&", "&&", ";"}
SERVER = "http://localhost:8000/v1"
"""Address of a server on the pages, in whose place a small one answers whatever the model."""
TRAINER = {"fit", "validate", "test", "predict"}


def run(line: str, earlier: Callable[[], Path], *, parsed_only: bool = False) -> None:
    """Run a line of shell, or look up what it names; `earlier` is where an earlier run left what it names."""
    if inner := re.fullmatch(r'eval "\$\((.+)\)"', line):
        line = inner[1]
    if SERVER in line and not parsed_only:
        with stand_in(models=None) as server:
            _run(line.replace(SERVER, server.url), earlier, parsed_only)
        return
    _run(line, earlier, parsed_only)


def _run(line: str, earlier: Callable[[], Path], parsed_only: bool) -> None:
    words = shlex.split(line)
    while words and re.fullmatch(r"\w+=\S*", words[0]):  # a variable for this command alone
        words = words[1:]
    if not words:
        return
    known = CHECKS.get(words[0])
    if words[0] == "dpo-lightning":
        for word in () if parsed_only else words[2:]:
            stand_ins.bring(word, earlier)
        if words[1:2] == ["init"]:
            stand_ins.make_way(words)
        (parse if parsed_only else call)(words[1:])
    elif known is None:
        pytest.fail(f"nothing here knows what `{words[0]}` is: {line}")
    else:
        known(words[1:])


def call(words: list[str]) -> str:
    """Run the command in this process, and return what it prints; after `>` it is written, too."""
    kept = words[words.index(">") + 1] if ">" in words else None
    words = [_there(word) for word in itertools.takewhile(lambda word: word not in JOINS, words)]
    printed = io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(printed):
        try:
            main([*words])
        except SystemExit as ended:
            code = ended.code
    allowed = FINDINGS.get(words[0], {0}) if words else {0}
    if (0 if code is None else code) not in allowed:
        pytest.fail(f"dpo-lightning {shlex.join(words)} ended with {code}\n{printed.getvalue()[-2000:]}")
    if kept:
        Path(kept).write_text(printed.getvalue())
    return printed.getvalue()


def ended_with(words: Sequence[str]) -> int:
    """Run a step of `rounds` in this process too, and return its exit code."""
    call([*words])
    return 0


def _there(word: str) -> str:
    """Turn a checkpoint with a number of steps that is not there into the newest that is: a page has a real run's."""
    if not re.search(r"/step=\d+\.ckpt$", word) or Path(word).exists():
        return word
    return str(max(Path(word).parent.glob("step=*.ckpt"), default=word))


def parse(words: list[str]) -> str:
    """Ask the command's parser whether it understands the words, and build nothing."""
    if words[0] in TRAINER:
        return call([*words, "--print_config"])
    if words[0] == "plan":
        return call(words)
    printed = call([words[0], "--help"])
    for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
        assert flag in printed, f"dpo-lightning {words[0]} has no {flag}"
    return printed


def _make(words: list[str]) -> None:
    targets = (ROOT / "Makefile").read_text()
    for target in (word for word in words if "=" not in word):
        assert f"\n{target}:" in targets, f"the Makefile has no target {target}"


def _pip(words: list[str]) -> None:
    assert words[0] == "install", words
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    for extra in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        missing = set(extra.split(",")) - set(setup["options.extras_require"])
        assert not missing, f"setup.cfg has no extra {missing}"


def _python(words: list[str]) -> None:
    if words[0] == "-m":
        place = ROOT / words[1].replace(".", "/")
        own = place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()
        assert own or words[1] == "mkdocs", f"no module {words[1]}"
    elif words[0] != "-c":
        assert (ROOT / words[0]).is_file() or Path(words[0]).is_file(), f"no file {words[0]}"


def _started(words: list[str]) -> None:
    """`torchrun` and `srun`: their own options, and then a command."""
    at = next((n for n, word in enumerate(words) if word in ("dpo-lightning", "dpo_lightning")), None)
    if at is not None:
        parse(words[at + 1 :])


def _wandb(words: list[str]) -> None:
    """Do with a sweep's file what its agent does for a trial, but for the server, with the first and last values."""
    if words[0] != "sweep":
        return
    sweep = yaml.safe_load(Path(words[1]).read_text())
    for chosen in (0, -1):
        values = {key: {"value": _values(given)[chosen]} for key, given in sweep["parameters"].items()}
        made = create_sweep_command_args({"args": values})
        command = [word for part in sweep["command"] for word in (made["args"] if part == "${args}" else [part])]
        assert command[0] == "dpo-lightning"
        config = yaml.safe_load(parse(command[1:]))
        for key, value in values.items():
            found = config
            for part in (part for part in key.split(".") if part != "init_args"):
                found = {**found, **(found.get("init_args") or {})}[part]
            assert found == value["value"], key


def _values(given: dict[str, Any]) -> list[Any]:
    return given.get("values") or [given["min"], given["max"]]


def _nothing(_: list[str]) -> None:
    """Change nothing here: what it would do to the machine is none of a test's affairs."""


def _copies(words: list[str]) -> None:
    source, target = words
    shutil.copy(source, target)


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "make": _make,
    "pip": _pip,
    "python": _python,
    "torchrun": _started,
    "wandb": _wandb,
    "srun": _started,
    "sbatch": _nothing,
    "cat": _nothing,
    "cd": _nothing,
    "cp": _copies,
    "git": _nothing,
    "hf": _nothing,
    "tail": _nothing,
    "apt-get": _nothing,
    "tensorboard": _nothing,
    "jupyter": _nothing,
}
