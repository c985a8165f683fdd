"""Rewards token by token, against the log-softmax of plain transformers in float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import parquet
from torch.utils.data import DataLoader

from dpo_lightning import DPO, IPO, KTO, ORPO, AllPairs, LoRA, PlackettLuceDPO, PreferenceModule, SimPO
from dpo_lightning.batch import TokenizedExample, collate_padded, collate_tree
from dpo_lightning.callbacks import WriteRewards
from dpo_lightning.callbacks.token_rows import token_texts, token_types
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.losses import AlphaPO, ChiPO
from tests.data.formats.test_unpaired import data as labelled_data
from tests.helpers.ranked import RankedRows
from tests.helpers.resumable import in_processes
from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import PAIRS, labelled_of, tiny_llama, tiny_tokenizer

SETS = {"first": "train[:3]", "second": "train[3:8]"}
COLLATE = {"tree": collate_tree, "padded": collate_padded}


def model(objective: Any) -> PreferenceModule:
    return module(tiny_llama(0), objective=objective, reference=tiny_llama(1))


def written(path, run: PreferenceModule, source: Any, **settings: Any) -> list[dict[str, Any]]:
    writer = WriteRewards(str(path / "rewards.parquet"), tokens=True, **settings)
    trainer(callbacks=[writer]).predict(run, source)
    return parquet.read_table(path / "rewards.parquet").to_pylist()


def exact(seed: int, prompt: list[int], completion: list[int]) -> list[float]:
    """Log-probs of a completion's tokens, by the model itself in float64."""
    ids = torch.tensor([[*prompt, *completion]])
    with torch.no_grad():
        logps = tiny_llama(seed).double()(input_ids=ids).logits[0].log_softmax(-1)
    return [logps[place - 1, ids[0, place]].item() for place in range(len(prompt), ids.shape[1])]


@pytest.mark.parametrize("layout", ["tree", "padded"])
@pytest.mark.parametrize("objective", [DPO(beta=0.3), KTO(beta=0.3), PlackettLuceDPO(beta=0.3)], ids=str)
def test_credit_is_beta_times_the_log_ratio_of_each_token(objective, layout, tmp_path):
    examples = [labelled_of(pair) for pair in PAIRS] if isinstance(objective, KTO) else PAIRS
    if isinstance(objective, PlackettLuceDPO):
        third = TokenizedExample(3, [1, 5], [[6, 2], [7, 8, 2], [9, 10, 11, 2]], columns={"score": [2.0, 1.0, 0.0]})
        examples = [pair._replace(columns={"score": [1.0, 0.0]}) for pair in PAIRS] + [third]
    loader = DataLoader(examples, batch_size=2, collate_fn=COLLATE[layout])
    rows = written(tmp_path, model(objective), loader)
    asked = [(example, place) for example in examples for place in range(len(example.completion_ids))]

    assert [(row["pair_id"], row["completion"]) for row in rows] == [(example.row, place) for example, place in asked]
    for row, (example, place) in zip(rows, asked, strict=True):
        policy, reference = (exact(seed, example.prompt_ids, example.completion_ids[place]) for seed in (0, 1))
        assert row["token_ids"] == example.completion_ids[place]
        assert row["policy_logps"] == pytest.approx(policy, abs=1e-5)
        assert row["reference_logps"] == pytest.approx(reference, abs=1e-5)
        credit = [0.3 * (one - other) for one, other in zip(policy, reference, strict=True)]
        assert row["credit"] == pytest.approx(credit, abs=1e-5)
        assert sum(row["credit"]) == pytest.approx(row["reward"], abs=1e-5)
    if isinstance(objective, KTO):
        assert [row["desirable"] for row in rows] == [example.labels[0] for example in examples]


@pytest.mark.parametrize(
    ("objective", "share"),
    [
        (SimPO(beta=2.0), lambda policy, _, length: 2.0 * policy / length),
        (IPO(tau=0.2), lambda policy, reference, _: 0.2 * (policy - reference)),
        (IPO(tau=0.2, per_token=True), lambda policy, reference, length: 0.2 * (policy - reference) / length),
    ],
    ids=["simpo", "ipo", "ipo_per_token"],
)
def test_credit_follows_the_objectives_own_reward(objective, share, tmp_path):
    reads = not isinstance(objective, SimPO)
    run = model(objective) if reads else module(tiny_llama(0), objective=objective)
    loader = DataLoader(PAIRS, batch_size=3, collate_fn=collate_tree)
    predicted = trainer().predict(run, loader)[0]
    rows = written(tmp_path, run, loader)
    assert all(("reference_logps" in row) == reads for row in rows)
    for row in rows:
        pair = next(pair for pair in PAIRS if pair.row == row["pair_id"])
        logps = [exact(seed, pair.prompt_ids, pair.completion_ids[row["completion"]]) for seed in (0, 1)]
        expected = [share(*each, len(logps[0])) for each in zip(*logps, strict=True)]
        assert row["credit"] == pytest.approx(expected, abs=1e-5)
        reward = predicted[("chosen", "rejected")[row["completion"]]][row["pair_id"]].item()
        assert (row["reward"], sum(row["credit"])) == (reward, pytest.approx(reward, abs=1e-5))


@pytest.mark.parametrize("objective", [ORPO(), AlphaPO(), ChiPO()], ids=lambda each: type(each).__name__)
def test_a_reward_that_is_no_sum_is_refused_and_nothing_is_written(objective, tmp_path):
    name = type(objective).__name__
    loader = DataLoader(PAIRS, batch_size=3, collate_fn=collate_tree)
    with pytest.raises(InputError, match=rf"^WriteRewards\.tokens: the reward of {name} is no sum over the tokens"):
        written(tmp_path, module(objective=objective), loader)  # even where policy and reference are equal
    assert not [*tmp_path.iterdir()]


def test_masked_tokens_have_no_credit(tmp_path):
    masked = PAIRS[0]._replace(scored=[[True, False, True, True], [True, False, True]])
    rows = written(tmp_path, model(DPO()), DataLoader([masked], batch_size=1, collate_fn=collate_padded))
    assert [row["token_ids"] for row in rows] == [[8, 10, 2], [11, 2]]
    assert all(sum(row["credit"]) == pytest.approx(row["reward"], abs=1e-5) for row in rows)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_several_sets_of_a_datamodule_with_texts(suffix, tmp_path):
    path = tmp_path / f"rewards.{suffix}"
    source = data(tmp_path, val_split=SETS)
    trainer(callbacks=[WriteRewards(str(path), tokens=True, texts=True)]).predict(model(DPO()), source)
    if suffix == "jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        texts = [row["texts"]["completion"] for row in rows]
    else:
        rows = parquet.read_table(path).to_pylist()
        texts = [row["texts.completion"] for row in rows]
    assert [row["set"] for row in rows] == ["first"] * 6 + ["second"] * 10
    assert ["".join(row["tokens"]) for row in rows] == texts
    assert [row["completion"] for row in rows] == [0, 1] * 8


def test_lists_and_labels_of_a_datamodule(tmp_path):
    lists = written(tmp_path, model(AllPairs(DPO())), data(tmp_path, format=RankedRows()), texts=True)
    assert {row["texts.asked"] for row in lists if row["pair_id"] == 0} == {lists[0]["texts.prompt"]}
    assert all("".join(row["tokens"]) == row["texts.completion"] for row in lists)
    labelled = written(tmp_path, model(KTO()), labelled_data(tmp_path, val_split="train[:4]"), texts=True)
    assert all("".join(row["tokens"]) == row["texts.completion"] for row in labelled)
    assert {row["desirable"] for row in labelled} <= {True, False}


def test_parquet_without_tokens_has_the_columns_of_the_lines(tmp_path):
    path = tmp_path / "rewards.parquet"
    lines = WriteRewards(str(tmp_path / "rewards.jsonl"))
    trainer(callbacks=[WriteRewards(str(path)), lines]).predict(model(DPO()), data(tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "rewards.jsonl").read_text().splitlines()]
    assert parquet.read_table(path).to_pylist() == rows


class OtherRewards(PreferenceModule):
    """A module whose predictions are not its objective's rewards."""

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, torch.Tensor]:
        found = super().predict_step(batch, batch_idx, dataloader_idx)
        return {**found, "chosen": found["chosen"] + 1}


class OwnStep(PreferenceModule):
    """A module that predicts by itself."""

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, torch.Tensor]:
        return self.comparison.predicted(batch, self.score(batch))


def test_a_predict_step_of_ones_own(tmp_path):
    loader = DataLoader(PAIRS, batch_size=3, collate_fn=collate_tree)
    own = written(tmp_path, OwnStep(tiny_llama(0), reference=tiny_llama(1)), loader)
    assert own == written(tmp_path, PreferenceModule(tiny_llama(0), reference=tiny_llama(1)), loader)
    with pytest.raises(InputError, match=r"^WriteRewards\.tokens: the predictions are not the rewards"):
        written(tmp_path, OtherRewards(tiny_llama(0), reference=tiny_llama(1)), loader)
    assert parquet.read_table(tmp_path / "rewards.parquet").to_pylist() == own  # that of before


def test_an_adapter_in_half_precision(tmp_path):
    run = module(tiny_llama(0), lora=LoRA(r=4), reference=tiny_llama(1))
    writer = WriteRewards(str(tmp_path / "rewards.parquet"), tokens=True)
    source = data(tmp_path)
    trainer(callbacks=[writer], precision="bf16-mixed").predict(run, source)
    rows = parquet.read_table(tmp_path / "rewards.parquet").to_pylist()
    assert all(sum(row["credit"]) == pytest.approx(row["reward"], abs=1e-4) for row in rows)
    assert parquet.read_table(tmp_path / "rewards.parquet").schema.field("credit").type == token_types()["credit"]


class Full(WriteRewards):
    """A writer whose disk is full at the second batch."""

    def _add(self, rows: list[dict[str, Any]]) -> None:
        if self._written:
            raise OSError(28, "No space left on device")
        super()._add(rows)


def test_a_full_disk_leaves_what_was_there(tmp_path):
    path = tmp_path / "rewards.parquet"
    path.write_text("before")
    with pytest.raises(RunError, match=r"rewards\.parquet could not be written: No space left on device$"):
        trainer(callbacks=[Full(str(path), tokens=True)]).predict(model(DPO()), data(tmp_path))
    assert path.read_text() == "before"
    assert not [each for each in tmp_path.iterdir() if each.name.endswith(".tmp")]


def on_two_ranks(rank: int, directory: Path) -> None:
    """Predict the sets with half of them on each rank."""
    writer = WriteRewards(str(directory / "rewards.parquet"), tokens=True)
    source = data(directory / str(rank), val_split=SETS)
    trainer(callbacks=[writer], devices=2, strategy="ddp").predict(model(DPO()), source)


def test_ranks_write_the_rows_of_one_process(tmp_path):
    for name in ("0", "1", "alone"):
        (tmp_path / name).mkdir()
    assert in_processes(2, on_two_ranks, tmp_path, output=tmp_path) == [0, 0]
    ranks = [parquet.read_table(tmp_path / f"rewards.{rank}.parquet").to_pylist() for rank in range(2)]
    alone = written(tmp_path, model(DPO()), data(tmp_path / "alone", val_split=SETS))

    def by_place(rows: list[dict[str, Any]]) -> dict[Any, Any]:
        return {(row["set"], row["pair_id"], row["completion"]): row for row in rows}

    together, whole = by_place([*ranks[0], *ranks[1]]), by_place(alone)
    assert together.keys() == whole.keys()
    assert all(len(rows) < len(alone) for rows in ranks)
    for place, row in whole.items():
        assert together[place]["tokens"] == row["tokens"]
        assert together[place]["credit"] == pytest.approx(row["credit"], abs=1e-5)


class Bytes:
    """A tokenizer of the bytes of UTF-8."""

    def decode(self, ids: list[int], **_: Any) -> str:
        return bytes(ids).decode("utf-8", errors="replace")


def test_texts_of_tokens_join_to_the_text():
    text = "aé€😀b"
    texts = token_texts(Bytes(), list(text.encode()))
    assert "".join(texts) == text
    assert texts == ["a", "", "é", "", "", "€", "", "", "", "😀", "b"]
    broken = token_texts(Bytes(), [255, 255, 255, 255, 255, 97])
    assert "".join(broken) == "\ufffd" * 5 + "a"
    ids = tiny_tokenizer()(" please 4")["input_ids"]
    assert all(len(text) >= 1 for text in token_texts(tiny_tokenizer(), ids))
    assert token_texts(tiny_tokenizer(), []) == []
