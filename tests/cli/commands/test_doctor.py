"""What an installation can do, and the exit code where something that was asked for does not work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning import TokenScorer
from dpo_lightning.cli.commands import doctor
from dpo_lightning.cli.installation import Check
from dpo_lightning.cli.main import main
from tests.helpers.runs import saved_model


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = 0
    try:
        main(["doctor", "--json", *words])
    except SystemExit as stopped:
        code = int(str(stopped.code))
    found = json.loads(capsys.readouterr().out)
    return code, {each["name"]: each for each in found["checks"]}


def test_a_need_that_does_not_work_exits_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(capsys, "--need", "bf16", "--need", "torch")[0] == 0
    monkeypatch.setattr(doctor, "checks", lambda: [Check("extras", "wandb", False, "is not installed", "pip")])
    code, found = asked(capsys, "--need", "wandb")
    assert (code, found["wandb"]["remedy"]) == (1, "pip")
    assert asked(capsys)[0] == 0


@pytest.mark.parametrize("exact", [True, False])
def test_the_layout_is_tried_on_the_model(
    exact: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = saved_model(tmp_path / "model")
    if not exact:
        monkeypatch.setattr(TokenScorer, "tree_problem", lambda scorer: "its positions are physical")
    code, found = asked(capsys, "--model", name)
    assert (code, found["tree"]["works"]) == (0 if exact else 1, exact)
    assert exact or "its positions are physical" in found["tree"]["text"]


def test_a_need_that_is_none_is_one_line() -> None:
    with pytest.raises(SystemExit, match=r"doctor --need gpuu: .*; did you mean `gpu`"):
        main(["doctor", "--need", "gpuu"])


def test_the_words_fit_what_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "versions:"
    assert {"device:", "kernels:", "extras:", "process:"} <= {*lines}
    assert all(line.startswith(("  ok  ", "  no  ", " " * 24)) for line in lines if not line.endswith(":"))
