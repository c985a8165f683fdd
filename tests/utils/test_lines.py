"""What a line or a warning quotes of others is spelled out where it leaves, and secrets in it are masked."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import pytest
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.rank_zero import rank_zero_module

from dpo_lightning.utils.lines import show_lines

_NAMED = "rows \x1b[31mred\x1b[0m of https://me:w0rd@host/x, %s"
_SHOWN = r"rows \x1b[31mred\x1b[0m of https://***@host/x, %s"


def test_info_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        rank_zero_info(_NAMED)
        rank_zero_info("%s of %d", "\x07bell", 3)
        rank_zero_info({"a": 1})

    assert caplog.messages == [_SHOWN, r"\x07bell of 3", "{'a': 1}"]


def test_warnings() -> None:
    said = warnings.formatwarning(UserWarning(_NAMED), UserWarning, "a.py", 1)  # what reaches stderr

    assert _SHOWN in said
    assert said.endswith("\n")


def test_a_second_time_changes_nothing() -> None:
    before = warnings.formatwarning, list(rank_zero_module.log.filters)
    show_lines()

    assert (warnings.formatwarning, rank_zero_module.log.filters) == before


_ALONE = """
import os, sys, warnings
import datasets, lightning.pytorch, torch, transformers  # which take seconds, and are no part of the package
for name in sys.argv[1:]:
    assert not [each for each in sys.modules if each.startswith("dpo_lightning")]
    if os.fork() == 0:
        exec(f"from dpo_lightning import {name}")
        print(name, warnings.formatwarning("\\x07", Warning, "", 1), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


def test_a_part_of_the_package_alone_shows_its_lines() -> None:
    """Names of the package are loaded one by one, and each that may say something brings the filter."""
    names = ["PreferenceDataModule", "LoRA", "PlotLogger"]
    done = subprocess.run([sys.executable, "-c", _ALONE, *names], capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith(tuple(names))]
    assert [line.split()[0] for line in lines] == names
    assert all(r"\x07" in line for line in lines)
