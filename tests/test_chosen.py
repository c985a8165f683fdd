"""An objective on the chosen completions alone: what a run computes of its pairs, and what it says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from torch.optim import SGD

from dpo_lightning import (
    DPO,
    SFT,
    WPO,
    Precomputed,
    PreferenceDataModule,
    PreferenceModule,
    RowFormat,
    RowWeighted,
    Weighted,
)
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.losses import Reads
from tests.helpers import runs
from tests.helpers.runs import rows, trainer
from tests.helpers.tiny import tiny_llama, tiny_tokenizer


class Seen(runs.Seen):
    """What was logged, too."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: dict[str, float] = {}

    def on_train_batch_end(self, *arguments: Any) -> None:
        super().on_train_batch_end(*arguments)
        self.logged = {name: float(value) for name, value in arguments[0].callback_metrics.items()}

    @property
    def tokens(self) -> list[int]:
        return [batch.input_ids.numel() for batch in self.batches]


class OnPairs(SFT):
    """The same loss, of which nobody knows that it reads no rejected completion."""

    compares = DPO.compares


class Halved(OnPairs):
    """Half of that loss."""

    def __call__(self, scores: Any) -> Tensor:
        return super().__call__(scores) / 2


def fit(objective: Any, **settings: Any) -> tuple[Seen, PreferenceModule, PreferenceDataModule]:
    reference = settings.pop("reference", None)
    form = {"batch_pairs": 4, "layout": "tree", "length_grouped": False, "val_split": 0.25, **settings}
    data = PreferenceDataModule(Dataset.from_list([{**row, "half": 0.5} for row in rows(24)]), tiny_tokenizer(), **form)
    seen = Seen()
    module = PreferenceModule(tiny_llama(), objective, reference, optimizer=lambda params: SGD(params, lr=0.1))
    trainer(max_steps=4, callbacks=[seen]).fit(module, data)
    return seen, module, data


@pytest.mark.parametrize("layout", ["tree", "padded"])
def test_the_losses_are_those_of_pairs_and_the_tokens_are_fewer(layout: str) -> None:
    found, module, _ = fit(SFT(), layout=layout)
    expected, on_pairs, _ = fit(OnPairs(), layout=layout)

    assert found.losses == pytest.approx(expected.losses, rel=1e-5)
    for batch, whole in zip(found.batches, expected.batches, strict=True):
        assert batch.row_ids.tolist() == whole.row_ids.tolist()
        assert {*batch.completions} == {1}
        assert batch.targets.tolist() == whole.targets[: len(batch.targets)].tolist()
    assert all(few < 0.85 * many for few, many in zip(found.tokens, expected.tokens, strict=True))
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, on_pairs.state_dict()[name], rtol=0, atol=1e-5)


def test_training_reports_what_it_computed_and_validation_all_of_a_pair() -> None:
    seen, module, data = fit(SFT())
    (validated,) = trainer().validate(module, data, verbose=False)
    predicted = trainer().predict(module, data)

    measured = {"lr", "seconds", "pairs_per_second", "tokens_per_second", "memory_gib", "epoch_fraction"}
    assert {name for name in seen.logged if name.startswith("train/")} == {
        *(f"train/{name}" for name in measured),
        "train/grad_norm",
        "train/loss",
        "train/lengths/chosen",
        "train/logps/chosen",
        "train/rewards/chosen",
    }
    assert {"val/rewards/accuracies", "val/rewards/margins", "val/logps/rejected"} <= validated.keys()
    assert [*predicted[0]] == ["pair_id", "chosen", "rejected", "margin"]


def test_a_mixture_with_an_objective_on_pairs_computes_both() -> None:
    seen, _, _ = fit(Weighted([SFT(), DPO()], [1.0, 1.0]))
    assert {count for batch in seen.batches for count in batch.completions} == {2}
    assert "train/rewards/margins" in seen.logged


@pytest.mark.parametrize(
    "objective",
    [Weighted([SFT()], [0.5]), Weighted([SFT(), Weighted([SFT()], [1.0])], [0.25, 0.25]), RowWeighted(SFT())],
    ids=["a mixture", "mixtures", "weights of rows"],
)
def test_what_is_made_of_such_objectives_computes_no_rejected_completion(objective: Any) -> None:
    """Half of the loss, by a factor or by the weights of rows."""
    named = {"format": RowFormat(weight="half")} if isinstance(objective, RowWeighted) else {}
    found, module, data = fit(objective, **named)
    expected, _, _ = fit(Halved(), layout="tree")
    (validated,) = trainer().validate(module, data, verbose=False)

    assert {count for batch in found.batches for count in batch.completions} == {1}
    assert found.losses == pytest.approx(expected.losses, rel=1e-5)
    assert {"train/rewards/chosen", "train/loss"} <= found.logged.keys()
    assert found.logged["train/rewards/chosen"] == pytest.approx(expected.logged["train/rewards/chosen"], rel=1e-5)
    assert "train/rewards/margins" not in found.logged
    assert "val/rewards/margins" in validated


def test_a_modifier_that_reads_pairs_computes_both() -> None:
    for objective in (WPO(SFT()), Weighted([SFT(), WPO(SFT())], [1.0, 1.0])):
        seen, _, _ = fit(objective)
        assert {count for batch in seen.batches for count in batch.completions} == {2}


def test_batches_of_tokens_count_what_is_computed() -> None:
    found, _, data = fit(SFT(), batch_pairs=None, batch_tokens=90, length_grouped=None)
    expected, _, _ = fit(OnPairs(), batch_pairs=None, batch_tokens=90, length_grouped=None)

    assert max(found.tokens) <= 90
    assert len(found.batches[0].row_ids) > len(expected.batches[0].row_ids)
    assert data.state_dict()["completions"] == 1


class WithReference(SFT):
    """Reads the reference too."""

    reads = SFT.reads | Reads.REFERENCE


def test_cached_values_of_whole_pairs_serve_the_chosen_completions(tmp_path: Any) -> None:
    cached = Precomputed(str(tmp_path))
    seen, module, _ = fit(WithReference(), reference=cached)

    assert {count for batch in seen.batches for count in batch.completions} == {1}
    assert all(len(batch.reference_logps) == len(batch.targets) for batch in seen.batches)
    assert seen.logged["train/logratios/chosen"] > 0
    scores = module.score(seen.batches[0])
    online = tiny_llama().eval()
    with torch.no_grad():
        expected = TokenScorer(online)(seen.batches[0]).logps
    torch.testing.assert_close(scores.tokens.reference_logps, expected, rtol=0, atol=1e-5)
