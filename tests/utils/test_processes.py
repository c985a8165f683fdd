"""A process and its parent."""

from __future__ import annotations

import os
import sys

import pytest

from dpo_lightning.utils import processes
from dpo_lightning.utils.processes import end_quietly, end_with_parent, end_with_starter


def test_a_process_can_be_tied_to_its_parent() -> None:
    from tests.helpers.saved import forked, reports

    assert reports(*forked(lambda report: report(str(end_with_parent())))) == ["None"]


def test_a_process_ends_with_the_one_that_started_it_or_has_none(monkeypatch) -> None:
    from tests.helpers.saved import forked, reports

    def starts(report) -> None:
        end_with_starter()
        report(str(processes.STARTER in os.environ))

    monkeypatch.delenv(processes.STARTER, raising=False)
    assert reports(*forked(starts)) == ["False"]
    monkeypatch.setenv(processes.STARTER, str(os.getpid()))
    assert reports(*forked(starts)) == ["False"]
    monkeypatch.setenv(processes.STARTER, "1")
    assert reports(*forked(starts)) == ["SystemExit: the process 1, which started this one, has ended"]


def test_a_main_process_that_is_gone_is_no_traceback_of_a_loaders_process(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    end_quietly()
    serve = {"__name__": "multiprocessing.resource_sharer"}
    exec("def serve(error):\n    raise error", serve)
    for error in (ConnectionResetError("gone"), EOFError()):
        with pytest.raises(type(error)) as raised:
            serve["serve"](error)
        sys.excepthook(raised.type, raised.value, raised.tb)
    assert capsys.readouterr().err == ""
    for error, place in ((ValueError("a fault"), serve["serve"]), (ConnectionResetError("a fault"), fails)):
        with pytest.raises(type(error)) as raised:
            place(error)
        sys.excepthook(raised.type, raised.value, raised.tb)
        assert f"{type(error).__name__}: a fault" in capsys.readouterr().err


def fails(error: BaseException) -> None:
    raise error
