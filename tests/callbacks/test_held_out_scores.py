"""Scores of each held-out example, gathered, and the texts of what is most wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from dpo_lightning import (
    KTO,
    InputError,
    PlackettLuceDPO,
    PreferenceDataModule,
    PreferenceModule,
    SimPO,
    Source,
    UnpairedFormat,
)
from dpo_lightning.batch import TokenizedExample, collate_padded
from dpo_lightning.callbacks import KeepRecord, held_out_scores
from dpo_lightning.callbacks.held_out_scores import HeldOutScores
from dpo_lightning.report.record import RunRecord, read_document, read_rows
from tests.helpers.ranked import RankedRows
from tests.helpers.ranks import run_ranks
from tests.helpers.runs import data, module, rows, saved_model, trainer, write_rows
from tests.helpers.tiny import PAIRS, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:learning rate 1e-09 is")

FIELDS = {"pair_id", "set", "source", "chosen_tokens", "rejected_tokens", "loss"} | {
    f"{name}/{side}" for name in ("rewards", "logps", "logratios") for side in ("chosen", "rejected")
}


def fitted(path: Path, model: PreferenceModule, pairs: Any, **settings: Any) -> tuple[Any, RunRecord]:
    """A fit of three steps with a validation at their end, and its record."""
    run = trainer(logger=CSVLogger(str(path)), callbacks=[KeepRecord()], val_check_interval=3, **settings)
    run.fit(model, *pairs) if isinstance(pairs, tuple) else run.fit(model, pairs)
    return run, RunRecord(path / "lightning_logs/version_0")


def test_each_held_out_pair_has_a_line_whose_mean_is_logged(tmp_path):
    run, record = fitted(tmp_path, module(), data(tmp_path), num_sanity_val_steps=2)
    found = read_rows(record.pairs)
    assert [row["pair_id"] for row in found] == list(range(8))
    assert all(row.keys() == FIELDS for row in found)
    for name in ("loss", "rewards/chosen", "logps/rejected", "logratios/chosen"):
        mean = sum(row[name] for row in found) / 8
        assert mean == pytest.approx(run.callback_metrics[f"val/{name}"].item(), rel=1e-4, abs=1e-5)
    assert (read_document(record.facts) or {})["validated"] == 8
    text = rows(1)[0]["chosen"]
    assert {row["chosen_tokens"] for row in found} == {len(text) + 1}  # a token a character, and EOS


def test_a_pair_is_most_wrong_with_the_most_negative_margin(tmp_path):
    _, record = fitted(tmp_path, module(objective=SimPO(), lr=1e-9), data(tmp_path))
    found, worst = read_rows(record.pairs), read_rows(record.worst)
    margins = sorted(row["rewards/chosen"] - row["rewards/rejected"] for row in found)
    assert [row["rewards/chosen"] - row["rewards/rejected"] for row in worst] == [each for each in margins if each < 0]
    assert worst
    tokenizer = tiny_tokenizer()
    for row in worst:
        own = rows(24)[row["pair_id"]]
        for name in ("prompt", "chosen", "rejected"):
            end = "" if name == "prompt" else "</s>"
            assert row[name] == tokenizer.decode(tokenizer(own[name])["input_ids"]) + end


def test_sets_have_their_names(tmp_path):
    sets = {"second": "train[8:12]", "first": "train[:8]"}
    _, record = fitted(tmp_path, module(objective=SimPO(), lr=1e-9), data(tmp_path, val_split=sets))
    found = read_rows(record.pairs)
    assert [(row["set"], row["pair_id"]) for row in found] == [
        *(("second", number) for number in range(4)),
        *(("first", number) for number in range(8)),
    ]
    worst = read_rows(record.worst)
    starts = {"second": 8, "first": 0}  # a row is counted in its slice
    assert [row["prompt"] for row in worst] == [
        rows(24)[starts[row["set"]] + row["pair_id"]]["prompt"] for row in worst
    ]
    assert {row["set"] for row in worst} == {*sets}


def test_sources_of_a_mix_are_named(tmp_path):
    sources = [Source(write_rows(tmp_path / f"{name}.jsonl", 12), name=name, weight=1.0) for name in ("one", "two")]
    mixed = PreferenceDataModule(sources=sources, tokenizer=tiny_tokenizer(), val_split=0.25, batch_pairs=4)
    _, record = fitted(tmp_path, module(), mixed)
    found = read_rows(record.pairs)
    assert [row["source"] for row in found] == [row["set"] for row in found] == ["one"] * 3 + ["two"] * 3


def test_labelled_completions_have_a_line_each(tmp_path):
    table = [
        {"prompt": row["prompt"], "completion": row["chosen"], "label": i % 3 > 0} for i, row in enumerate(rows(24))
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    pairs = PreferenceDataModule(
        str(tmp_path / "rows.jsonl"), tiny_tokenizer(), format=UnpairedFormat(), val_split="train[:8]", batch_pairs=4
    )
    _, record = fitted(tmp_path, module(objective=KTO()), pairs)
    found = read_rows(record.pairs)
    assert [row["label"] for row in found] == [i % 3 > 0 for i in range(8)]
    assert found[0].keys() == {
        "pair_id", "set", "source", "tokens", "label", "loss", "rewards", "logps", "logratios",
    }  # fmt: skip
    assert read_rows(record.worst) == []


def test_lists_have_a_line_each(tmp_path):
    pairs = data(tmp_path, format=RankedRows())
    _, record = fitted(tmp_path, module(objective=PlackettLuceDPO()), pairs)
    found = read_rows(record.pairs)
    assert len(found) == 8
    assert {"loss", "rewards/chosen", "rewards/rejected"} <= found[0].keys()


def no_batch() -> None:
    """Find no preference batch."""


class Silent(PreferenceModule):
    """Validates as before there were outputs."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Return nothing."""
        super().validation_step(batch, batch_idx, dataloader_idx)


def test_a_step_that_returns_nothing_has_no_lines(tmp_path):
    run, record = fitted(tmp_path, Silent(module().policy), data(tmp_path))
    assert run.global_step == 3
    assert not record.pairs.exists()
    assert record.facts.exists()


def test_loaders_of_the_users_own_have_no_texts(tmp_path):
    loader = DataLoader(PAIRS * 3, batch_size=3, collate_fn=collate_padded)  # type: ignore[arg-type]
    _, record = fitted(tmp_path, module(objective=SimPO(), lr=1e-9), (loader, loader))
    assert len(read_rows(record.pairs)) == 9
    assert "prompt" not in read_rows(record.worst)[0]


class OwnValidation(PreferenceDataModule):
    """Validates pairs of the user's own, of which none is in the file of the split."""

    def val_dataloader(self) -> Any:
        """Return them."""
        own = [TokenizedExample.pair(i, [1, 5, 6], [50 + i % 3] * 10, [40] * 10) for i in range(4)]
        return DataLoader(own, batch_size=2, collate_fn=collate_padded)  # type: ignore[arg-type]


def test_pairs_that_were_not_validated_lend_no_texts(tmp_path):
    file = write_rows(tmp_path / "rows.jsonl")
    pairs = OwnValidation(file, tiny_tokenizer(), val_split="train[:8]", batch_pairs=4)
    _, record = fitted(tmp_path, module(objective=SimPO(), lr=1e-9), pairs)
    worst = read_rows(record.worst)
    assert worst
    assert not any("chosen" in row for row in worst)


class Meta(PreferenceModule):
    """Returns values on several devices."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """Return a loss that cannot be read."""
        found = dict(super().validation_step(batch, batch_idx, dataloader_idx) or {})
        return {**found, "loss": found["loss"].to("meta")}


def test_outputs_that_cannot_be_read_cost_the_scores_alone(tmp_path):
    with pytest.warns(UserWarning, match="lacks scores of held-out examples: "):
        run, record = fitted(tmp_path, Meta(module().policy), data(tmp_path))
    assert run.global_step == 3
    assert not record.pairs.exists()


def test_data_that_cannot_be_read_costs_the_scores_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(held_out_scores, "with_texts", Mock(side_effect=KeyError("a user's own")))
    with pytest.warns(UserWarning, match='KeyError: "a user\'s own"'):
        run, record = fitted(tmp_path, module(objective=SimPO(), lr=1e-9), data(tmp_path))
    assert run.global_step == 3
    assert not record.worst.exists()


@pytest.mark.parametrize(
    ("dealt", "ids"),
    [
        ([[0, 2], [1, 0]], [0, 1, 2]),  # three examples of two ranks
        ([[0, 2], [1, 3]], [0, 1, 2, 3]),
        ([[0, 0], [1, 1]], [0, 0, 1, 1]),  # the user's own repetition
        ([[0, 3], [1, 0], [2, 1]], [0, 1, 2, 3]),
        ([[0], [1], [0], [1], [0]], [0, 1]),
        ([[0], [0], [0]], [0]),
        ([[0, 1, 2], [3]], [0, 1, 2, 3]),
    ],
)
def test_what_a_sampler_repeats_is_there_once(dealt: list[list[int]], ids: list[int], monkeypatch: Any) -> None:
    found: list[Any] = []
    monkeypatch.setattr(held_out_scores, "to_rank_zero", lambda own: found.append(own) or [])
    for each in dealt:
        scores = HeldOutScores()
        scores.add({"pair_id": torch.tensor(each)}, no_batch, 0)
        scores.rows(())
    of_ranks = [(rank, parts, failure) for rank, (_, parts, failure) in enumerate(found)]
    monkeypatch.setattr(held_out_scores, "to_rank_zero", lambda own: of_ranks)
    assert [row["pair_id"] for row in HeldOutScores().rows(())] == ids
    twice = [each for each in of_ranks for _ in range(2)]  # ranks that share a model have the same data
    monkeypatch.setattr(held_out_scores, "to_rank_zero", lambda own: twice)
    assert [row["pair_id"] for row in HeldOutScores().rows(())] == ids


def ambiguous() -> None:
    raise InputError("two preference batches")


def test_a_batch_that_is_not_known_is_asked_for_scores_alone() -> None:
    scores = HeldOutScores()
    scores.add({"loss": torch.ones(2)}, ambiguous, 0)
    scores.add({"pair_id": torch.tensor([0])}, no_batch, 0)
    assert len(scores.rows(())) == 1
    scores.add({"pair_id": torch.tensor([0])}, no_batch, 0)
    scores.add({"pair_id": torch.tensor([1])}, ambiguous, 0)
    assert scores.rows(()) == []


@pytest.mark.parametrize(
    "outputs",
    [None, torch.ones(2), {}, {"pair_id": 3}, {"pair_id": torch.tensor(3)}, {"loss": torch.ones(2)}],
    ids=str,
)
def test_what_others_return_adds_nothing(outputs: Any) -> None:
    scores = HeldOutScores()
    scores.add(outputs, no_batch, 0)
    assert scores.rows(()) == []


def test_parts_of_other_columns_are_kept_apart():
    scores = HeldOutScores()
    scores.add({"pair_id": torch.tensor([1, 0]), "loss": torch.tensor([0.5, 0.25])}, no_batch, 0)
    scores.add({"pair_id": torch.tensor([2]), "note": ["x"], "loss": torch.tensor([[1.0]])}, no_batch, 0)
    nothing = {"set": None, "source": None}
    assert scores.rows(()) == [
        {"pair_id": 0, **nothing, "loss": 0.25},
        {"pair_id": 1, **nothing, "loss": 0.5},
        {"pair_id": 2, **nothing},
    ]
    assert scores.rows(()) == []


def in_two_ranks(path: Path) -> None:
    """A fit of two ranks, of which one has a pair more."""
    pairs = data(path, val_split="train[:7]", batch_pairs=2)
    fitted(path, module(str(path / "model"), objective=SimPO()), pairs, devices=2, strategy="ddp")


def test_two_ranks_write_one_file(tmp_path):
    saved_model(tmp_path / "model")
    write_rows(tmp_path / "pairs.jsonl")
    run_ranks(in_two_ranks, tmp_path, output=tmp_path)
    record = RunRecord(tmp_path / "lightning_logs/version_0")
    assert [row["pair_id"] for row in read_rows(record.pairs)] == list(range(7))
    assert [path.name for path in (tmp_path / "lightning_logs").iterdir()] == ["version_0"]
    steps = [row["step"] for row in read_rows(record.points) if "train/loss" in row]
    assert steps == [0, 1, 2, 3]
