"""The command before anything is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

import dpo_lightning
from dpo_lightning.cli.door import family_help, main

_LOADS_NOTHING = """
import sys
from dpo_lightning.cli.door import main
for word in ("--help", "--version"):
    try:
        main([word])
    except SystemExit as stopped:
        assert not stopped.code
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"torch", "lightning", "transformers", "datasets", "jsonargparse", "rich"}, loaded
"""


def test_help_and_version_load_neither_torch_nor_lightning() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADS_NOTHING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(family_help())


def test_the_help_fits_a_terminal() -> None:
    assert max(map(len, family_help().splitlines())) <= 80


def test_without_a_command_the_help_is_shown_and_the_status_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert capsys.readouterr().out == family_help() + "\n"


def test_the_version_names_what_a_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    said = capsys.readouterr().out
    assert said.startswith(f"dpo_lightning {dpo_lightning.__version__} (torch {version('torch')}, lightning ")


def test_what_is_no_word_of_the_door_is_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["cache", "nonsense"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_every_name_of_the_package_is_found() -> None:
    assert len(dpo_lightning.__all__) == len({*dpo_lightning.__all__})
    for name in dpo_lightning.__all__:
        assert getattr(dpo_lightning, name) is not None
    assert {*dpo_lightning.__all__} <= {*dir(dpo_lightning)}


def test_it_ends_quietly_where_nobody_reads_its_output() -> None:
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "-m", "dpo_lightning", "completion", "zsh"], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, b"")
