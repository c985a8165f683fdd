"""DPO with an extra term of your own: subclass the module and override `pair_losses`.

DPO is content once the chosen completion is the likelier one, and may lower the likelihood of both. Here the chosen
one's negative log-likelihood per token is added, as in arXiv:2404.19733 equation 1, so that it is learnt as well.

    python examples/extra_loss_term.py
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

from dpo_lightning import DPO, Objective, PairScores, PreferenceBatch, PreferenceModule, TokenizedExample
from dpo_lightning.data import collate_padded
from dpo_lightning.losses import sft


class LikelihoodDPO(PreferenceModule):
    """DPO + `likelihood_weight` x the chosen completion's negative log-likelihood per token.

    Checkpoints hold `likelihood_weight` like every other argument.
    """

    def __init__(
        self,
        policy: str | nn.Module,
        objective: Objective = DPO(),  # noqa: B008 - frozen
        *,
        likelihood_weight: float = 1.0,
        **settings: Any,
    ) -> None:
        super().__init__(policy, objective, **settings)
        self.likelihood_weight = likelihood_weight

    def pair_losses(self, batch: PreferenceBatch, scores: PairScores) -> Tensor:
        preference = super().pair_losses(batch, scores)
        return preference + self.likelihood_weight * sft(scores.policy_chosen_logps, scores.chosen_lengths)


def tiny_policy() -> nn.Module:
    """Build a random Llama; a hub name would do as well."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=32, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    )


def toy_pairs(count: int = 64) -> list[TokenizedExample]:
    """Chosen completions count upwards from 0 to 10, rejected ones are random numbers from 16 on."""
    rng = torch.Generator().manual_seed(0)

    def numbers(low: int, high: int, size: int = 6) -> list[int]:
        return torch.randint(low, high, (size,), generator=rng).tolist()

    def counting() -> list[int]:
        (start,) = numbers(0, 11, size=1)
        return list(range(start, start + 6))

    return [TokenizedExample.pair(number, numbers(0, 32), counting(), numbers(16, 32)) for number in range(count)]


def train(likelihood_weight: float, epochs: int = 3) -> tuple[LikelihoodDPO, pl.Trainer]:
    """Train for a few seconds."""
    module = LikelihoodDPO(
        tiny_policy(),
        DPO(beta=0.1),
        likelihood_weight=likelihood_weight,
        optimizer=lambda parameters: AdamW(parameters, lr=3e-3),
    )
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        log_every_n_steps=8,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(toy_pairs(), batch_size=8, collate_fn=collate_padded))
    return module, trainer


def main() -> None:
    for weight in (0.0, 1.0):
        metrics = train(weight)[1].callback_metrics
        print(
            f"likelihood_weight {weight}: reward margin {metrics['train/rewards/margins']:.2f}, "
            f"log-prob of the chosen completion {metrics['train/logps/chosen']:.1f} nats"
        )


if __name__ == "__main__":
    main()
