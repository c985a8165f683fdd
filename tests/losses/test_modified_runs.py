"""A step of training with each modifier, against plain logits in float64: the loss, and every gradient."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import datasets
import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpo_lightning import FrozenCopy, Precomputed, PreferenceDataModule, PreferenceModule, Reference, RowFormat
from dpo_lightning.batch import TokenizedExample
from dpo_lightning.losses import DPO, LDDPO, SFT, WPO, Objective, RowWeighted, Weighted
from tests.helpers.runs import saved_model, trainer
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

BETA, ALPHA = 0.5, 0.3
ROWS = [
    {"prompt": "ab:", "chosen": " yes", "rejected": " no, never", "times": 2.0},
    {"prompt": "abcd:", "chosen": " certainly so", "rejected": " no", "times": 0.5},
    {"prompt": "a:", "chosen": " why", "rejected": " not", "times": 1.0},
    {"prompt": "abc:", "chosen": " of course", "rejected": " hm", "times": 0.0},
]
OBJECTIVES: dict[str, Objective] = {
    "ld": LDDPO(DPO(BETA), alpha=ALPHA),
    "wpo": WPO(DPO(BETA)),
    "rows": RowWeighted(DPO(BETA)),
    "mixture": Weighted([WPO(LDDPO(DPO(BETA), alpha=ALPHA)), SFT()], [2.0, 0.5]),
}


def token_logps(model: nn.Module, prompt: list[int], completion: list[int]) -> tuple[Tensor, Tensor]:
    """Log-prob and log collision probability of each token of the completion."""
    logits = model(input_ids=torch.tensor([prompt + completion])).logits[0].double()
    logps = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return logps.gather(1, torch.tensor(completion)[:, None])[:, 0], (2 * logps).logsumexp(-1)


def pair_loss(name: str, policy: nn.Module, reference: nn.Module, pair: TokenizedExample) -> Tensor:
    """What the papers say, for one pair."""
    sums, weight, mean = [], torch.tensor(1.0, dtype=torch.float64), []
    shared = min(map(len, pair.completion_ids))
    for completion in pair.completion_ids:
        logps, collisions = token_logps(policy, pair.prompt_ids, completion)
        with torch.no_grad():
            ratios = logps - token_logps(reference, pair.prompt_ids, completion)[0]
        ratios = ratios.detach() + logps - logps.detach()
        beyond = ALPHA if name in ("ld", "mixture") else 1.0
        sums.append(ratios[:shared].sum() + beyond * ratios[shared:].sum())
        weight = weight * (logps - collisions).mean().exp().detach()
        mean.append(logps.mean())
    loss = -F.logsigmoid(BETA * (sums[0] - sums[1]))
    if name == "rows":
        return loss * pair.columns["weight"]
    if name == "mixture":
        return 2 * weight * loss - 0.5 * mean[0]
    return weight * loss if name == "wpo" else loss


class Gradients(pl.Callback):
    """Those of the first optimizer step."""

    def on_before_optimizer_step(self, run: pl.Trainer, module: pl.LightningModule, optimizer: Any) -> None:
        self.found = {name: p.grad.double() for name, p in module.policy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("cached", [False, True], ids=["frozen copy", "precomputed"])
@pytest.mark.parametrize("layout", ["tree", "padded"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step(name: str, layout: str, cached: bool, tmp_path: Path) -> None:
    """Two micro-batches, one optimizer step: the mean over all pairs."""
    policy, other = tiny_llama(seed=1), tiny_llama(seed=2)
    exact, exact_reference = copy.deepcopy(policy).double(), other.double()
    named = RowFormat(weight="times") if name == "rows" else RowFormat()
    reference: Reference = FrozenCopy(saved_model(tmp_path / "other", seed=2))
    if cached:
        reference = Precomputed(str(tmp_path / "cache"), reference)
    module = PreferenceModule(policy, OBJECTIVES[name], reference, step_zero_check=False)
    data = PreferenceDataModule(
        datasets.Dataset.from_list(ROWS), tiny_tokenizer(), batch_pairs=2, layout=layout, format=named
    )
    gradients = Gradients()

    run = trainer(max_steps=1, accumulate_grad_batches=2, callbacks=[gradients])
    run.fit(module, data)
    pairs = [pair for split in data.examples_used("fit") for pair in split]
    loss = torch.stack([pair_loss(name, exact, exact_reference, pair) for pair in pairs]).mean()
    loss.backward()

    assert len(pairs) == len(ROWS)
    assert run.callback_metrics["train/loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    expected = {name: parameter.grad for name, parameter in exact.named_parameters()}
    assert gradients.found.keys() == expected.keys()
    for parameter, gradient in gradients.found.items():
        torch.testing.assert_close(gradient, expected[parameter], rtol=2e-3, atol=1e-5)
