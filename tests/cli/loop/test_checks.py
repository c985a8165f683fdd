"""What is wrong is found before the first step."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.loop.checks import check_rounds
from dpo_lightning.cli.loop.settings import read_config
from dpo_lightning.cli.loop.steps import plan
from dpo_lightning.errors import InputError
from tests.cli.loop.a_loop import written


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, None),
        ({"generate__plain": True}, None),
        ({"rounds__policy": "runs/x.ckpt"}, "rounds.policy: there is no checkpoint runs/x.ckpt"),
        ({"generate__samples": "many"}, "generate: argument --samples: invalid int value: 'many'"),
        ({"score": {}}, "score: name one scorer, got none"),
        ({"score__label": 1}, "score --label: nothing reads it with --function"),
        ({"fit__model__lr": 1}, "error: unknown key `model.lr`"),
        (
            {"rounds__reference": "first", "fit__model__objective": "SimPO"},
            "fit of round-2: objective SimPO has no reference: leave `reference` out",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_a_command_would_refuse_is_refused_first(tmp_path, monkeypatch, changes, line, capsys):
    monkeypatch.chdir(tmp_path)
    config = read_config(written(tmp_path, **changes), None)
    if line is None:
        check_rounds(config, plan(config))
    else:
        with pytest.raises((InputError, SystemExit)) as refused:
            check_rounds(config, plan(config))
        assert line in str(refused.value) + capsys.readouterr().err
    assert not (tmp_path / "out").exists()
