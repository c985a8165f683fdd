"""Eight research projects on the names at the package's root, without a private one."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor, nn
from torchmetrics import MeanMetric

from dpo_lightning import (
    DPO,
    WPO,
    BoundReference,
    Column,
    Compares,
    DataRead,
    Example,
    Followed,
    Format,
    InputError,
    MovingReference,
    Objective,
    PairScores,
    PreferenceBatch,
    PreferenceDataModule,
    PreferenceModule,
    Reads,
    Reference,
    RowFormat,
    TokenScorer,
    Weighted,
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


@dataclass(frozen=True)
class Judged(RowFormat):
    """8. What a judge says of each completion, read by a loss; and where a row is from, read by a metric."""

    judge: str = "judge"

    @property
    def columns(self) -> Mapping[str, Column]:
        return {**super().columns, "score": Column.of_completions("Score of the judge.")}

    def examples(self, row: Mapping[str, Any], quote: Callable[[str], str] = str) -> list[Example]:
        (pair,) = super().examples(row, quote)
        return [Example.pair(pair.prompt, *pair.completions, score=row[self.judge], **pair.columns)]


@dataclass(frozen=True)
class ByScores(Objective):
    """Log-ratios that are to be the scores, up to a constant of the prompt."""

    reads = Reads.REFERENCE
    reads_columns = frozenset({"score"})

    def __call__(self, scores: PairScores) -> Tensor:
        chosen, rejected = scores.columns["score"]
        return (scores.chosen_logratio - scores.rejected_logratio - chosen + rejected).square()

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        return scores.chosen_logratio, scores.rejected_logratio


class BySource(PreferenceModule):
    """The chosen completions' reward, by source."""

    def validation_step(self, batch: PreferenceBatch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        chosen, _ = self.objective.rewards(self.score(batch))
        for reward, source in zip(chosen, batch.texts["source"], strict=True):
            self.log(f"val/{source}", reward, batch_size=1)


JUDGED = [{**row, "judge": [n + 0.5, n / 4], "source": ("web", "books")[n % 2]} for n, row in enumerate(rows(16))]


def judged(**settings: Any) -> PreferenceDataModule:
    form = {"format": Judged(texts=["source"]), "batch_pairs": 4, "val_split": 0.5, **settings}
    return PreferenceDataModule(Dataset.from_list(JUDGED), tiny_tokenizer(), **form)


class Seen(ByScores):
    """Notes the scores that it reads."""

    seen: ClassVar[list[list[float]]]

    def __call__(self, scores: PairScores) -> Tensor:
        self.seen.extend(scores.columns["score"].T.tolist())
        return super().__call__(scores)


@pytest.mark.filterwarnings("ignore:precision bf16-true")
@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_a_column_of_ones_own_for_a_loss_and_one_for_a_metric(precision: str) -> None:
    seen = Seen.seen = []
    run = trainer(max_steps=2, precision=precision)
    run.fit(BySource(tiny_llama(), Seen(), step_zero_check=False), judged())

    assert len(seen) == (2 + 2 * 2) * 4, "two steps, a validation of two batches after each"
    assert all(pair in [row["judge"] for row in JUDGED] for pair in seen)
    assert {"val/web", "val/books"} <= run.callback_metrics.keys()


def test_a_loss_says_which_columns_it_reads() -> None:
    without = judged(format=RowFormat())

    with pytest.raises(
        InputError, match=r"^the objective reads the score of each row, and data\.format RowFormat gives"
    ):
        trainer().fit(module(objective=ByScores()), without)
    with pytest.raises(InputError, match=r"^data\.format\.score: the objective does not read it"):
        trainer().fit(module(), judged())
    for around in (Weighted([DPO(), ByScores()], [1.0, 1.0]), WPO(ByScores())):
        assert around.reads_columns == {"score"}
        assert len(losses_of(module(objective=around), judged(), max_steps=1)) == 1


class OnScores(PreferenceModule):
    """8b. The same in a module's own loss."""

    def data_read(self) -> DataRead:
        read = super().data_read()
        return DataRead(read.objective, read.compares, read.reads, read.columns | {"score"})

    def pair_losses(self, batch: PreferenceBatch, scores: PairScores) -> Tensor:
        chosen, rejected = scores.columns["score"]
        return super().pair_losses(batch, scores) * (chosen - rejected).abs()


def test_a_column_of_ones_own_for_a_loss_of_the_module() -> None:
    weights = [abs(row["judge"][0] - row["judge"][1]) for row in JUDGED]
    seen = losses_of(OnScores(tiny_llama()), judged(val_split=None, batch_pairs=16), max_steps=1)

    assert seen[0] == pytest.approx(0.693147 * sum(weights) / 16, rel=1e-4)


def test_nothing_private_is_needed() -> None:
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    names = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]

    assert [name for name in names if name.startswith("_") and not name.startswith("__")] == []
    assert [name for name in modules if str(name).startswith("dpo_lightning.")] == []
