"""One pass over 2,312 real Anthropic HH pairs with an implicit prompt: nothing is lost unaccounted for."""

from __future__ import annotations

import gzip
import json
import logging
import re
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from dpo_lightning import SFT, PairBatch, PairScores, PreferenceDataModule, PreferenceModule, TokenizedPair

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

PAIRS = 2312
MAX_LENGTH = 1024
COUNTS = re.compile(r"split train: (\d+) pairs, (\d+) kept \((\d+) of them truncated\)(?:; dropped (.*))?")


class HH(NamedTuple):
    """The data module after its pass, the raw rows, the kept pairs by row, and what the pass reported."""

    data: PreferenceDataModule
    rows: list[dict[str, str]]
    kept: dict[int, TokenizedPair]
    report: str


@pytest.fixture
def hh(shared: Path, caplog: pytest.LogCaptureFixture) -> HH:
    path = shared / "data" / "hh_harmless_test.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    data = PreferenceDataModule(
        {"train": str(path)},
        str(shared / "tokenizers" / "gpt2"),
        val_split="train",
        max_length=MAX_LENGTH,
        eval_batch_size=16,
    )
    with caplog.at_level(logging.INFO):
        data.setup()
    pairs = data.val_dataloader().batches.dataset
    return HH(data, rows, {pair.pair_id: pair for pair in pairs.__getitems__(list(range(len(pairs))))}, caplog.text)


def test_every_pair_is_kept_or_counted(hh: HH) -> None:
    match = COUNTS.search(hh.report)
    assert match is not None, hh.report
    total, kept, _, reasons = match.groups()
    dropped = {reason: int(count) for count, reason in re.findall(r"(\d+) ([^,]+)", reasons or "")}
    assert int(total) == len(hh.rows) == PAIRS
    assert int(kept) == len(hh.kept)
    assert int(kept) + sum(dropped.values()) == PAIRS
    print(dropped, kept)


def test_kept_pairs_are_the_dialogues(hh: HH) -> None:
    tokenizer = hh.data.tokenizer
    truncated = 0
    for row, pair in hh.kept.items():
        prompt = tokenizer.decode(pair.prompt_ids)
        assert prompt.endswith("\n\nAssistant:"), row
        for ids, dialogue in ((pair.chosen_ids, hh.rows[row]["chosen"]), (pair.rejected_ids, hh.rows[row]["rejected"])):
            text = tokenizer.decode(pair.prompt_ids + ids)
            if len(pair.prompt_ids) + len(ids) < MAX_LENGTH:
                assert text == dialogue + tokenizer.eos_token, row
            else:
                truncated += 1
                assert dialogue.startswith(text), row
    assert truncated < 20
    print("truncated", truncated)


class Scored(PreferenceModule):
    """Keeps what was scored."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[int] = []
        self.scores: list[PairScores] = []

    def pair_losses(self, batch: PairBatch, scores: PairScores) -> Tensor:
        self.seen += batch.pair_ids.tolist()
        self.scores.append(scores)
        return super().pair_losses(batch, scores)


def test_metrics_are_means_over_the_kept_pairs(hh: HH) -> None:
    torch.manual_seed(0)
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=MAX_LENGTH, initializer_range=0.3)
    module = Scored(GPT2LMHeadModel(config), SFT())
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    (metrics,) = trainer.validate(module, hh.data, verbose=False)

    assert sorted(module.seen) == sorted(hh.kept)
    scores = PairScores(*(torch.cat(column) for column in zip(*module.scores, strict=True)))
    assert scores.chosen_lengths.tolist() == [len(hh.kept[pair].chosen_ids) for pair in module.seen]
    chosen = scores.policy_chosen_logps / scores.chosen_lengths
    rejected = scores.policy_rejected_logps / scores.rejected_lengths
    assert metrics["val/loss"] == pytest.approx(-chosen.mean().item(), rel=1e-5)
    assert metrics["val/logps/chosen"] == pytest.approx(scores.policy_chosen_logps.mean().item(), rel=1e-5)
    assert metrics["val/rewards/accuracies"] == pytest.approx((chosen > rejected).float().mean().item(), rel=1e-6)
    assert metrics["val/loss"] > 10.8  # a random model cannot beat the uniform distribution's ln 50257
