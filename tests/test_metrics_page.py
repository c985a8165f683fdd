"""The page of metrics, against what runs log."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning import DPO, KTO, SFT, PlackettLuceDPO
from dpo_lightning.callbacks.watched_metrics import known_metrics
from tests.data.formats.test_unpaired import data as labelled
from tests.helpers.runs import data, module, trainer

PAGE = (Path(__file__).parents[1] / "docs/metrics.md").read_text(encoding="utf-8")
TABLE = PAGE.split("<!-- table -->")[1].split("<!-- end of table -->")[0]
NAMED = dict(re.findall(r"^\| `([^`]+)` \|.*?\|.*?\| ([^|]*) \|", TABLE, re.MULTILINE))
ROWS = [{"prompt": f"{word}:", "completion": " yes", "label": n % 2 == 0} for n, word in enumerate("abcdefgh")]


def logged(run: Any) -> set[str]:
    return {name.partition("/")[2] for name in run.callback_metrics if "/" in name}


@pytest.mark.parametrize("objective", [DPO(), SFT(), KTO()], ids=lambda each: type(each).__name__)
def test_everything_that_is_logged_is_on_the_page(tmp_path: Path, objective: Any) -> None:
    source = labelled(tmp_path, ROWS, batch_pairs=4) if isinstance(objective, KTO) else data(tmp_path)
    run = trainer(max_steps=1, val_check_interval=1)
    run.fit(module(objective=objective), source)

    assert "loss" in logged(run)
    assert logged(run) <= NAMED.keys()


def test_the_page_names_nothing_that_no_run_logs() -> None:
    known = set().union(*(known_metrics(module(objective=each)) for each in (DPO(), KTO(), PlackettLuceDPO())))
    assert NAMED.keys() == {name.partition("/")[2] for name in known if "/" in name}
