"""Facts of a run are those of its parts."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from dpo_lightning import DPO, KTO, LoRA, SimPO
from dpo_lightning.callbacks.run_facts import facts_of, memory_peak, title_of
from tests.helpers.runs import KeptElsewhere, data, module, saved_model, trainer, write_rows
from tests.helpers.tiny import tiny_llama, tiny_tokenizer


class Asks(pl.Callback):
    """Takes the facts at the first batch, as a run's record does."""

    found: dict[str, Any]
    peak: int | None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Ask once."""
        self.found, self.peak = facts_of(trainer, pl_module), memory_peak(trainer)


def facts(path: Any, model: Any, **settings: Any) -> dict[str, Any]:
    asks = Asks()
    trainer(callbacks=[asks], max_steps=1, **settings).fit(model, data(path))
    assert asks.peak is None or asks.peak > 2**20
    return asks.found


def test_facts_are_those_of_the_parts(tmp_path):
    found = facts(tmp_path, module(saved_model(tmp_path / "model"), objective=DPO(beta=0.2), lora=LoRA(r=4)))
    assert found["objective"]["name"] == "DPO"
    assert found["objective"]["settings"]["beta"] == 0.2
    assert found["model"]["name"] == str(tmp_path / "model")
    assert found["model"]["local"] is True
    assert found["model"]["class"] == "LlamaForCausalLM"
    whole = sum(each.numel() for each in tiny_llama().parameters())
    assert found["model"]["parameters"] == whole + found["model"]["trainable"]
    assert found["model"]["lora"].startswith("LORA rank 4 alpha ")
    assert found["reference"] == "AdapterOff()"
    assert found["optimizer"] == {"name": "AdamW", "lr": 1e-3}
    assert (found["data"]["train"], found["data"]["held_out"]) == (24, 8)
    assert found["data"]["source"].endswith("pairs.jsonl")
    assert found["steps_planned"] == 1
    assert found["layout"] == "tree"
    assert found["versions"]["torch"] == torch.__version__
    assert found["machine"]["ranks"] == 1


def test_the_fingerprint_is_that_of_the_weights(tmp_path):
    prints = [facts(tmp_path, module(tiny_llama(seed)))["model"]["fingerprint"] for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


def test_a_run_without_a_reference_says_so(tmp_path):
    assert facts(tmp_path, module(objective=SimPO()))["reference"] == "none"


class Foreign(pl.LightningModule):
    """A module of somebody else's."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.5)


def test_of_a_foreign_module_is_said_what_is_known():
    asks = Asks()
    trainer(callbacks=[asks], max_steps=1).fit(Foreign(), DataLoader(torch.ones(4, 2)))
    assert asks.found["model"] == {"class": "Foreign", "parameters": 3, "trainable": 3}
    assert asks.found["optimizer"] == {"name": "SGD", "lr": 0.5}
    assert not {"objective", "reference", "data", "layout"} & asks.found.keys()


def test_data_that_is_kept_elsewhere_takes_no_other_fact_with_it(tmp_path):
    asks = Asks()
    source = KeptElsewhere(write_rows(tmp_path / "a.jsonl"), tiny_tokenizer())
    trainer(callbacks=[asks], max_steps=2).fit(module(), source)
    assert asks.found["steps_planned"] == 2
    assert asks.found["objective"]["name"] == "DPO"
    assert asks.found["optimizer"]["lr"] == 1e-3
    assert not {"data", "layout"} & asks.found.keys()


def test_a_title_tells_runs_apart():
    first = {
        "objective": {"name": "DPO", "settings": {"beta": 0.1, "label": "x", "flag": True}},
        "model": {"name": "org/some-model", "lora": "LORA rank 4"},
        "optimizer": {"name": "AdamW", "lr": 5e-7},
    }
    assert title_of(first) == "DPO beta 0.1 · some-model with adapters · AdamW, lr 5e-07"
    assert title_of({"objective": {"name": KTO.__name__, "settings": {}}}) == "KTO"
    assert title_of({}) == ""
