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

from dpo_lightning import SFT, PairScores, PreferenceBatch, PreferenceDataModule, PreferenceModule, TokenizedExample

PAIRS = 2312
PROMPT_TOKENS, COMPLETION_TOKENS = 16, 4
REPORT = re.compile(
    r"split train: (\d+) pairs, (\d+) kept \((\d+) of them truncated\)(?:; dropped (.*))?$", re.MULTILINE
)


class Pass(NamedTuple):
    """A data module after it has read all pairs, what it reported, and what it kept, by row."""

    data: PreferenceDataModule
    report: str
    kept: dict[int, TokenizedExample]


@pytest.fixture(scope="module")
def rows(shared: Path) -> list[dict[str, str]]:
    with gzip.open(_path(shared), "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def whole(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Pass:
    """Long enough for every dialogue."""
    return _pass(shared, tmp_path_factory.mktemp("whole"), max_length=2048)


@pytest.fixture(scope="module")
def cut(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Pass:
    """So short that every dialogue is truncated, and some pairs become identical."""
    return _pass(
        shared,
        tmp_path_factory.mktemp("cut"),
        max_length=PROMPT_TOKENS + COMPLETION_TOKENS,
        max_prompt_length=PROMPT_TOKENS,
    )


def test_every_pair_is_kept_or_dropped_for_a_reason(whole: Pass, rows: list[dict[str, str]]) -> None:
    kept, truncated, dropped = _counts(whole)
    assert (len(rows), truncated) == (PAIRS, 0)
    assert kept + sum(dropped.values()) == PAIRS
    lost = [row for number, row in enumerate(rows) if number not in whole.kept]
    assert dropped == {"with an empty completion": len(lost)}
    assert all(any(row[name].rstrip().endswith("Assistant:") for name in ("chosen", "rejected")) for row in lost)


def test_every_truncated_pair_is_kept_or_dropped_for_a_reason(cut: Pass, whole: Pass) -> None:
    kept, truncated, dropped = _counts(cut)
    assert kept + sum(dropped.values()) == PAIRS
    assert truncated == kept
    identical = {
        row
        for row, pair in whole.kept.items()
        if pair.completion_ids[0][: _room(pair)] == pair.completion_ids[1][: _room(pair)]
    }
    assert len(identical) > 20
    assert whole.kept.keys() - cut.kept.keys() == identical
    assert dropped["whose completions are identical after truncation"] == len(identical)


def test_kept_pairs_are_the_dialogues(whole: Pass, rows: list[dict[str, str]]) -> None:
    tokenizer = whole.data.tokenizer
    for row, pair in whole.kept.items():
        assert tokenizer.decode(pair.prompt_ids).endswith("\n\nAssistant:"), row
        for name, completion in zip(("chosen", "rejected"), pair.completion_ids, strict=True):
            assert tokenizer.decode(pair.prompt_ids + completion) == rows[row][name] + tokenizer.eos_token, row


def test_truncation_keeps_the_prompts_end_and_the_completions_start(cut: Pass, whole: Pass) -> None:
    for row, pair in cut.kept.items():
        uncut = whole.kept[row]
        room = _room(pair)
        assert pair.prompt_ids == uncut.prompt_ids[-PROMPT_TOKENS:], row
        assert pair.completion_ids[0] == uncut.completion_ids[0][:room], row
        assert pair.completion_ids[1] == uncut.completion_ids[1][:room], row


class Scored(PreferenceModule):
    """Keeps what was scored."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[int] = []
        self.scores: list[PairScores] = []

    def pair_losses(self, batch: PreferenceBatch, scores: PairScores) -> Tensor:
        self.seen += batch.row_ids.tolist()
        self.scores.append(scores)
        return super().pair_losses(batch, scores)


def test_metrics_are_means_over_exactly_the_kept_pairs(cut: Pass) -> None:
    torch.manual_seed(0)
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, initializer_range=0.3)
    module = Scored(GPT2LMHeadModel(config), SFT())
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    (metrics,) = trainer.validate(module, cut.data, verbose=False)

    assert module.seen == list(cut.kept)
    scores = PairScores(*(torch.cat(column) for column in zip(*(each[:6] for each in module.scores), strict=True)))
    assert scores.chosen_lengths.tolist() == [len(pair.completion_ids[0]) for pair in cut.kept.values()]
    chosen = scores.policy_chosen_logps / scores.chosen_lengths
    rejected = scores.policy_rejected_logps / scores.rejected_lengths
    assert metrics["val/loss"] == pytest.approx(-chosen.mean().item(), rel=1e-5)
    assert metrics["val/logps/chosen"] == pytest.approx(scores.policy_chosen_logps.mean().item(), rel=1e-5)
    assert metrics["val/rewards/accuracies"] == pytest.approx((chosen > rejected).float().mean().item(), rel=1e-6)
    assert metrics["val/loss"] > 10.8, "a random model beats the uniform distribution's ln 50257 = 10.82"


def _path(shared: Path) -> Path:
    return shared / "data" / "hh_harmless_test.jsonl.gz"


def _room(pair: TokenizedExample) -> int:
    """Tokens left for a completion after truncation."""
    return PROMPT_TOKENS + COMPLETION_TOKENS - min(len(pair.prompt_ids), PROMPT_TOKENS)


def _pass(shared: Path, cache: Path, **lengths: int) -> Pass:
    data = PreferenceDataModule(
        {"train": str(_path(shared))},
        str(shared / "tokenizers" / "gpt2"),
        val_split="train",
        load_options={"cache_dir": str(cache)},
        eval_batch_pairs=30,  # the last batch is smaller, which a mean over batches would weight wrongly
        **lengths,
    )
    reports = _Messages()
    logging.getLogger("lightning.pytorch").addHandler(reports)
    try:
        data.setup()
    finally:
        logging.getLogger("lightning.pytorch").removeHandler(reports)
    pairs = data.val_dataloader().batches.dataset
    kept = pairs.__getitems__(list(range(len(pairs))))
    return Pass(data, "\n".join(reports.texts), {pair.row: pair for pair in kept})


class _Messages(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def _counts(result: Pass) -> tuple[int, int, dict[str, int]]:
    """Kept, truncated, and dropped by reason, as the report has them."""
    match = REPORT.search(result.report)
    assert match is not None, result.report
    total, kept, truncated, reasons = match.groups()
    assert int(total) == PAIRS
    assert int(kept) == len(result.kept)
    dropped = {reason: int(count) for count, reason in re.findall(r"(\d+) ([^,]+)", reasons or "")}
    return int(kept), int(truncated), dropped
