"""Seven research projects on the names at the package's root, without a private one."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor, nn
from torchmetrics import MeanMetric

from dpo_lightning import (
    BoundReference,
    Compares,
    Example,
    Followed,
    Format,
    MovingReference,
    Objective,
    PairScores,
    PreferenceBatch,
    PreferenceDataModule,
    PreferenceModule,
    Reads,
    Reference,
    TokenScorer,
    dpo,
)
from tests.helpers.runs import Losses, data, module, rows, saved_model, trainer
from tests.helpers.tiny import tiny_llama, tiny_tokenizer


def losses_of(fitted: PreferenceModule, rows_of: Any, **settings: Any) -> list[float]:
    """The loss of each micro-batch of a run."""
    seen = Losses()
    trainer(**{**settings, "callbacks": [seen, *settings.get("callbacks", [])]}).fit(fitted, rows_of)
    return seen.losses


@dataclass(frozen=True)
class Focal(Objective):
    """1. A loss of one's own: pairs that are right already count less."""

    beta: float = 0.1
    gamma: float = 2.0
    reads = Reads.REFERENCE

    def __call__(self, scores: PairScores) -> Tensor:
        margin = self.beta * (scores.chosen_logratio - scores.rejected_logratio)
        return -((1 - margin.sigmoid()) ** self.gamma) * F.logsigmoid(margin)

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        return self.beta * scores.chosen_logratio, self.beta * scores.rejected_logratio


def test_a_new_loss_trains_and_is_in_the_checkpoint(tmp_path: Path) -> None:
    run = trainer(max_steps=2)
    fitted = module(saved_model(tmp_path / "model"), objective=Focal(gamma=1.0))
    run.fit(fitted, data(tmp_path))
    run.save_checkpoint(tmp_path / "focal.ckpt")

    assert PreferenceModule.load_from_checkpoint(tmp_path / "focal.ckpt").objective == Focal(gamma=1.0)


class WithoutSpaces(PreferenceModule):
    """2. Weights of tokens: one id does not count."""

    def pair_losses(self, batch: PreferenceBatch, scores: PairScores) -> Tensor:
        tokens = scores.tokens
        assert tokens is not None
        counted = torch.where(batch.targets == 3, 0.0, tokens.policy_logps - tokens.reference_logps)
        return dpo(*batch.sum_per_sequence(counted).chunk(2), beta=0.1)


def test_a_loss_by_token_id(tmp_path: Path) -> None:
    assert losses_of(WithoutSpaces(tiny_llama()), data(tmp_path))[0] == pytest.approx(0.6931, abs=1e-4)


class WithTexts(PreferenceModule):
    """3. An SFT term on other data beside the preference loss."""

    def training_step(self, batch: PreferenceBatch, batch_idx: int) -> Tensor:
        texts = torch.randint(3, 60, (2, 12), generator=torch.Generator().manual_seed(batch_idx))
        return super().training_step(batch, batch_idx) + 0.1 * self.policy(input_ids=texts, labels=texts).loss


def test_a_term_on_other_data(tmp_path: Path) -> None:
    assert losses_of(WithTexts(tiny_llama()), data(tmp_path))[0] > 0.8


@dataclass(frozen=True)
class Average(Reference):
    """4. A reference of one's own: the mean of the policy and another checkpoint."""

    other: str

    def bind(self, policy: nn.Module) -> BoundReference:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(self.other, dtype=torch.float32)
        with torch.no_grad():
            for mine, theirs in zip(model.parameters(), policy.parameters(), strict=True):
                mine.lerp_(theirs, 0.5)
        return BoundAverage(model.requires_grad_(False).eval())


class BoundAverage(BoundReference):
    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.score = TokenScorer(model)

    def token_logps(self, batch: PreferenceBatch) -> Tensor:
        with torch.no_grad():
            return self.score(batch).logps

    def diagnose(self) -> str:
        return "it is an average"

    def followed(self) -> dict[str, Followed]:
        return {}


def test_a_reference_of_ones_own_comes_back_with_the_checkpoint(tmp_path: Path) -> None:
    other = saved_model(tmp_path / "other", seed=1)
    fitted = module(saved_model(tmp_path / "model"), reference=Average(other), step_zero_check=False)
    run = trainer(max_steps=1)
    run.fit(fitted, data(tmp_path))
    run.save_checkpoint(tmp_path / "average.ckpt")
    again = PreferenceModule.load_from_checkpoint(tmp_path / "average.ckpt")

    assert again.reference_settings == Average(other)
    again.configure_model()
    assert isinstance(again.reference, BoundAverage)


class Warm(MovingReference):
    """4b. A schedule of one's own for a reference that follows."""

    def __init__(self) -> None:
        super().__init__(every=1)

    def keep(self, weights: Mapping[str, Followed]) -> dict[str, dict[str, Tensor]]:
        return {}

    def move(self, weights: Mapping[str, Followed], step: int) -> None:
        for reference, policy in weights.values():
            reference.lerp_(policy, 10 / (step + 10))


def test_a_moving_reference_of_ones_own(tmp_path: Path) -> None:
    fitted = module()
    losses_of(fitted, data(tmp_path), callbacks=[Warm()])

    assert fitted.reference.moved_by == "Warm"


@dataclass(frozen=True)
class EachNegative(Format):
    """5. Rows of one's own: a pair for each negative."""

    gives = Compares.PAIRS

    def examples(self, row: Mapping[str, Any], quote: Callable[[str], str] = str) -> list[Example]:
        return [Example.pair(quote(row["q"]), quote(row["best"]), quote(bad)) for bad in row["negatives"]]


def test_rows_of_ones_own(tmp_path: Path) -> None:
    table = [{"q": f"q {i}:", "best": f" good {i}", "negatives": [f" bad {i}", f" worse {i}"]} for i in range(6)]
    pairs = PreferenceDataModule(Dataset.from_list(table), tiny_tokenizer(), format=EachNegative(), batch_pairs=4)

    assert len(losses_of(module(), pairs)) == 3
    assert [example.row for example in pairs.examples("train")][:4] == [0, 0, 1, 1]


class PerToken(PreferenceModule):
    """6. A metric of one's own, beside ours."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.per_token = MeanMetric()

    def validation_step(self, batch: PreferenceBatch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        scores = self.score(batch)
        self.per_token.update(scores.policy_chosen_logps / scores.chosen_lengths)
        self.log("val/per_token", self.per_token, batch_size=batch.examples)


def test_a_metric_of_ones_own(tmp_path: Path) -> None:
    run = trainer(max_steps=-1, max_epochs=1)
    run.fit(PerToken(tiny_llama()), data(tmp_path))

    assert run.callback_metrics["val/per_token"] < 0
    assert "val/rewards/margins" in run.callback_metrics


class Sampled(PreferenceDataModule):
    """7. Rows that depend on the policy, made anew for each epoch."""

    asked = 0

    def train_dataloader(self) -> Any:
        self.asked += 1
        self.replace_dataset(Dataset.from_list(rows(8)[: 4 * self.asked]))
        return super().train_dataloader()


def test_rows_made_anew_for_each_epoch(tmp_path: Path) -> None:
    sampled = Sampled(Dataset.from_list(rows(8)), tiny_tokenizer(), batch_pairs=4)
    seen = losses_of(module(), sampled, max_steps=-1, max_epochs=2, reload_dataloaders_every_n_epochs=1)

    assert sampled.asked == 2
    assert len(seen) == 1 + 2


def test_nothing_private_is_needed() -> None:
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    names = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]

    assert [name for name in names if name.startswith("_") and not name.startswith("__")] == []
    assert [name for name in modules if str(name).startswith("dpo_lightning.")] == []
