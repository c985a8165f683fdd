"""The pieces inside a LightningModule that you already have: its optimizer, its logging and its checkpoints stay.

`collate_padded` makes the batches, `TokenScorer` turns model and batch into log-probs, `FrozenCopy` is the reference
(which stays out of the checkpoint), and `dpo` is the loss, a pure function.

    python examples/foreign_module.py
"""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel

from dpo_lightning import FrozenCopy, PreferenceBatch, TokenizedExample, TokenScorer, sequence_logps
from dpo_lightning.data import collate_padded
from dpo_lightning.losses import dpo


class YourModule(pl.LightningModule):
    """Somebody's own training code, which now also learns from preferences."""

    def __init__(self, model: nn.Module, beta: float = 0.1, lr: float = 0.1) -> None:
        super().__init__()
        self.model = model
        self.beta = beta
        self.lr = lr
        self.scorer = TokenScorer(model)
        self.reference = FrozenCopy().bind(model)

    def training_step(self, batch: PreferenceBatch, batch_idx: int) -> Tensor:
        reference_logps = batch.sum_per_sequence(self.reference.token_logps(batch))
        chosen_logratio, rejected_logratio = (sequence_logps(self.scorer, batch) - reference_logps).chunk(2)
        loss = dpo(chosen_logratio, rejected_logratio, beta=self.beta).mean()
        self.log("preference_loss", loss, batch_size=batch.examples)
        self.log("agreement", (chosen_logratio > rejected_logratio).float().mean(), batch_size=batch.examples)
        return loss

    def configure_optimizers(self) -> Optimizer:
        return SGD(self.model.parameters(), lr=self.lr, momentum=0.9)


def tiny_model() -> nn.Module:
    """Build a random GPT-2 without dropout, which would make policy and reference differ before training."""
    torch.manual_seed(0)
    size = {"vocab_size": 32, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(**size, **dropout, bos_token_id=0, eos_token_id=1)).train()


def toy_pairs(count: int = 64) -> list[TokenizedExample]:
    """Chosen completions are random small numbers, rejected ones are random large numbers."""
    rng = torch.Generator().manual_seed(0)

    def tokens(low: int, high: int) -> list[int]:
        return torch.randint(low, high, (6,), generator=rng).tolist()

    return [TokenizedExample.pair(number, tokens(0, 32), tokens(0, 16), tokens(16, 32)) for number in range(count)]


def train(epochs: int = 3) -> tuple[YourModule, pl.Trainer]:
    """Train for a few seconds."""
    module = YourModule(tiny_model())
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        log_every_n_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(toy_pairs(), batch_size=8, collate_fn=collate_padded))
    return module, trainer


def main() -> None:
    metrics = train()[1].callback_metrics
    print(f"loss {metrics['preference_loss']:.3f} (0.693 before), agreement {metrics['agreement']:.2f}")


if __name__ == "__main__":
    main()
