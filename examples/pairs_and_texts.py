"""DPO with an SFT term on other data: two loaders in a `CombinedLoader`, and a `training_step` that adds the term.

The pairs come from a `PreferenceDataModule`, the texts from a loader that it makes beside them. Both have the order of
seed and epoch, share their data over ranks, and go on where they were when a run is resumed. The checks that every run
gets find the preference batch in the dict by themselves.

    python examples/pairs_and_texts.py
"""

from __future__ import annotations

import string
from typing import Any

import lightning.pytorch as pl
import torch
from datasets import Dataset
from lightning.pytorch.utilities import CombinedLoader
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.optim import AdamW
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dpo_lightning import PreferenceDataModule, PreferenceModule

IGNORED = -100  # as transformers calls a label that is not counted


class PairsAndTexts(PreferenceDataModule):
    """Preference pairs, and beside them texts whose likelihood is to go up."""

    def __init__(self, dataset: Any, texts: list[str], **settings: Any) -> None:
        super().__init__(dataset, **settings)
        self.texts = texts

    def train_dataloader(self) -> CombinedLoader:  # type: ignore[override]
        texts = self.loader_beside(self.texts, batch_size=4, collate_fn=self.labels)
        return CombinedLoader({"pairs": super().train_dataloader(), "texts": texts}, "max_size_cycle")

    def labels(self, texts: list[str]) -> Tensor:
        """Tokenise texts to a rectangle."""
        rows = [torch.tensor(self.tokenizer(text)["input_ids"]) for text in texts]
        return pad_sequence(rows, batch_first=True, padding_value=IGNORED)


class DPOWithTexts(PreferenceModule):
    """DPO + `text_weight` x the mean negative log-likelihood of a token of the texts."""

    def __init__(self, policy: str | nn.Module, *, text_weight: float = 0.5, **settings: Any) -> None:
        super().__init__(policy, **settings)
        self.text_weight = text_weight

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        preference = super().training_step(batch["pairs"], batch_idx)
        labels = batch["texts"]
        likelihood = self.policy(input_ids=labels.clamp(min=0), labels=labels).loss
        self.log("train/text_loss", likelihood)
        return preference + self.text_weight * likelihood


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Build one token a character; a hub name would do as well."""
    vocab = {character: number for number, character in enumerate("~" + string.ascii_lowercase + " ")}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="~"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="~", bos_token="~", eos_token="~")


def tiny_policy() -> nn.Module:
    """Build a random Llama."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=32, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    )


def toy_data() -> PairsAndTexts:
    """Chosen completions are polite; the texts are about the weather."""
    pairs = [{"prompt": f"the {c}", "chosen": f" please {c}", "rejected": f" no {c}"} for c in string.ascii_lowercase]
    texts = [f"the {sky} is {colour}" for sky in ("sun", "moon", "rain", "snow") for colour in ("red", "blue", "grey")]
    return PairsAndTexts(Dataset.from_list(pairs), texts, tokenizer=tiny_tokenizer(), batch_pairs=2, val_split=0.2)


def train(text_weight: float, epochs: int = 4, **settings: Any) -> tuple[DPOWithTexts, pl.Trainer]:
    """Train for a few seconds; settings are those of the Trainer, and `ckpt_path`."""
    module = DPOWithTexts(
        tiny_policy(), text_weight=text_weight, optimizer=lambda parameters: AdamW(parameters, lr=3e-3)
    )
    path = settings.pop("ckpt_path", None)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    whole = {"accelerator": "cpu", "log_every_n_steps": 5, "enable_model_summary": False, **quiet, **settings}
    trainer = pl.Trainer(max_epochs=epochs, **whole)
    trainer.fit(module, datamodule=toy_data(), ckpt_path=path)
    return module, trainer


def main() -> None:
    for weight in (0.0, 0.5):
        metrics = train(weight)[1].callback_metrics
        print(
            f"text_weight {weight}: reward margin {metrics['val/rewards/margins']:.2f}, "
            f"loss of a token of the texts {metrics['train/text_loss']:.2f} nats"
        )


if __name__ == "__main__":
    main()
