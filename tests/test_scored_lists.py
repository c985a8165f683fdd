"""Scored completions as UltraFeedback has them, through the DataModule and the command, for lists and for pairs."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from torch.optim import SGD

from dpo_lightning import (
    DPO,
    QRPO,
    AllPairs,
    PlackettLuceDPO,
    Precomputed,
    PreferenceDataModule,
    PreferenceModule,
    RewardAwareSquared,
    ScoredListFormat,
    ScoredPairsFormat,
)
from dpo_lightning.cli.main import main
from dpo_lightning.errors import InputError
from tests.helpers.runs import saved_model, trainer
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

COUNTS = (4, 2, 3, 4, 2, 4, 3, 2)
FIELDS: dict[str, Any] = {"prompt": "instruction", "completion": "response", "score": "overall_score"}
TIE = 4


def scores_of(row: int, count: int) -> list[float]:
    """All different, but that the row of ties has one score, and those of four have two equal ones."""
    if row == TIE:
        return [5.0] * count
    return [[7.5, 9.0, 2.0, 7.5], [1.0, 8.0, 3.0]][count % 2][:count]


def write_feedback(path: Path) -> Path:
    """Rows with two to four completions; every second score is a number in a text."""
    with path.open("w") as file:
        for row, count in enumerate(COUNTS):
            completions = [
                {
                    "response": f"a{row} b{k} " * (k + 1),
                    "overall_score": str(score) if (row + k) % 2 else score,
                    "share": (k + 1) / count,
                }
                for k, score in enumerate(scores_of(row, count))
            ]
            file.write(json.dumps({"instruction": f"q {row}", "completions": completions}) + "\n")
    return path


def data(path: Path, **settings: Any) -> PreferenceDataModule:
    source = path / "rows.jsonl"
    settings = {"batch_pairs": 3, "length_grouped": False, **settings}
    return PreferenceDataModule(
        str(source if source.exists() else write_feedback(source)), tiny_tokenizer(), **settings
    )


def fitted(path: Path, objective: Any, steps: int = 2, reference: Any = None, **settings: Any) -> tuple[Any, Any]:
    given = {} if reference is None else {"reference": reference}
    found = data(path, **settings)
    module = PreferenceModule(tiny_llama(), objective=objective, optimizer=functools.partial(SGD, lr=0.01), **given)
    trainer(max_steps=steps).fit(module, found)
    return module, found


def weights(module: Any) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in module.state_dict().items()}


def examples(found: Any) -> list[Any]:
    rows = found.examples_used("fit")[0]
    return [rows[number] for number in range(len(rows))]


def test_the_objective_decides_what_is_found(tmp_path: Path) -> None:
    lists = {each.row: each for each in examples(fitted(tmp_path, PlackettLuceDPO())[1])}
    assert sorted(lists) == [row for row in range(len(COUNTS)) if row != TIE]
    for row, each in lists.items():
        assert each.columns["score"] == sorted(scores_of(row, COUNTS[row]), reverse=True)
        assert len(each.completion_ids) == COUNTS[row]

    pairs = {each.row: each for each in examples(fitted(tmp_path, DPO())[1])}
    assert pairs.keys() == lists.keys()
    for row, each in pairs.items():
        assert each.completion_ids == [lists[row].completion_ids[0], lists[row].completion_ids[-1]]


def test_all_pairs_of_ties_are_those_with_a_better_one(tmp_path: Path) -> None:
    _, found = fitted(
        tmp_path, RewardAwareSquared(), format=ScoredPairsFormat(**FIELDS, take="all_pairs", margin="overall_score")
    )
    counted: dict[int, int] = {}
    for each in examples(found):
        counted[each.row] = counted.get(each.row, 0) + 1
        assert each.columns["margin"] > 0
    assert counted == {row: {2: 1, 3: 3, 4: 5}[count] for row, count in enumerate(COUNTS) if row != TIE}


def test_quantiles_reach_their_objective(tmp_path: Path) -> None:
    objective = QRPO(beta=0.5, quantiles="column")
    _, found = fitted(tmp_path, objective, format=ScoredListFormat(**FIELDS, quantile="share"))
    (each,) = [each for each in examples(found) if each.row == 0]
    assert each.columns["quantile"] == [0.5, 0.25, 1.0, 0.75]
    with pytest.raises(InputError, match="quantile"):
        fitted(tmp_path, objective)


def test_a_list_for_an_objective_of_pairs_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"objective DPO reads pairs, and .* gives lists .*AllPairs\(DPO"):
        fitted(tmp_path, DPO(), format=ScoredListFormat(**FIELDS))


@pytest.mark.parametrize("objective", [PlackettLuceDPO(0.5), AllPairs(DPO(0.5), weighted=True)], ids=repr)
def test_layouts_and_the_cache_train_the_same_policy(tmp_path: Path, objective: Any) -> None:
    expected = weights(fitted(tmp_path, objective, layout="tree")[0])
    for layout in ("padded", "tree"):
        for reference in (None, Precomputed(str(tmp_path / "cache"))):
            found = weights(fitted(tmp_path, objective, layout=layout, reference=reference)[0])
            for name, value in expected.items():
                torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    def run(steps: int, checkpoint: Path | None = None) -> Any:
        module = PreferenceModule(
            tiny_llama(), objective=PlackettLuceDPO(0.5), optimizer=functools.partial(SGD, lr=0.01, momentum=0.9)
        )
        of = trainer(max_steps=steps, max_epochs=2)
        of.fit(module, data(tmp_path), ckpt_path=None if checkpoint is None else str(checkpoint))
        return of, module

    _, whole = run(5)
    stopped, _ = run(2)
    stopped.save_checkpoint(tmp_path / "last.ckpt")
    _, resumed = run(5, tmp_path / "last.ckpt")
    for name, value in weights(whole).items():
        assert weights(resumed)[name].equal(value), name


def test_the_command_finds_the_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    write_feedback(tmp_path / "rows.jsonl")
    config = {
        "model": {"policy": saved_model(tmp_path / "model"), "objective": {"class_path": "PlackettLuceDPO"}},
        "data": {"dataset": str(tmp_path / "rows.jsonl"), "batch_pairs": 3},
        "trainer": {"max_steps": 1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False},
    }
    (tmp_path / "run.yaml").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    runs: list[pl.Trainer] = []
    fit = pl.Trainer.fit

    def kept(self: pl.Trainer, *given: Any, **settings: Any) -> None:
        runs.append(self)
        fit(self, *given, **settings)

    monkeypatch.setattr(pl.Trainer, "fit", kept)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    main(["fit", "--config", "run.yaml"])
    assert [run.global_step for run in runs] == [1]
    rows = runs[0].datamodule.examples_used("fit")[0]  # type: ignore[attr-defined]
    assert sorted(len(rows[number].completion_ids) for number in range(len(rows))) == [2, 2, 3, 3, 4, 4, 4]
