"""Triton is asked for by what it can do."""

from __future__ import annotations

import pytest

from dpo_lightning.compat import triton


def test_it_runs_where_a_trial_does(recwarn: pytest.WarningsRecorder) -> None:
    assert triton.runs(lambda: None)
    assert not recwarn.list


def test_where_it_is_not_installed_nothing_is_tried_or_said(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(triton, "find_spec", lambda _: None)
    tried = []
    assert not triton.runs(lambda: tried.append(1))
    assert not tried
    assert not recwarn.list


@pytest.mark.parametrize("error", [RuntimeError("no ptxas\nsecond line"), OSError(""), ImportError("libcuda.so.1")])
def test_one_that_cannot_is_named_in_one_line(error: Exception) -> None:
    def trial() -> None:
        raise error

    reason = str(error).partition("\n")[0] or "no reason given"
    with pytest.warns(UserWarning, match=rf"cannot run here \({type(error).__name__}: {reason}\)") as caught:
        assert not triton.runs(trial)
    assert "second line" not in str(caught[0].message)
