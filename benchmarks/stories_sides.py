"""The two sides of `stories.py`, each run in a process of its own: the same weights, pairs and recipe, in float32.

Each side has its data tokenised and its models built before the clock of the training starts.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TRAIN, HELD_OUT = "train[:1200]", "train[1200:]"
RECIPE = {"beta": 0.1, "batch_size": 16, "epochs": 2, "gradient_clip": 1.0, "log_every_n_steps": 10, "max_length": 512}
LEARNING_RATE = {"full": 2e-4, "lora": 1e-3}
LORA = {"r": 8, "alpha": 16, "target_modules": "all-linear"}
EVAL_BATCH = 48
"""Divides the 240 held-out pairs, since TRL averages over batches."""


def pairs_file(shared: Path) -> Path:
    """1,440 pairs."""
    return shared / "data" / "stories_happy.jsonl.gz"


def model_dir(shared: Path) -> Path:
    """A pretrained Llama of 260,032 parameters."""
    return shared / "models" / "stories260K"


def run_ours(shared: Path, mode: str, seed: int) -> dict[str, float]:
    """Train with this package; training time, and held-out loss and accuracy."""
    import lightning.pytorch as pl
    from torch.optim import AdamW

    from dpo_lightning import DPO, LoRA, PreferenceDataModule, PreferenceModule

    pl.seed_everything(seed, verbose=False)
    data = PreferenceDataModule(
        str(pairs_file(shared)),
        str(model_dir(shared)),
        train_split=TRAIN,
        val_split=HELD_OUT,
        max_length=RECIPE["max_length"],
        batch_pairs=RECIPE["batch_size"],
        eval_batch_pairs=EVAL_BATCH,
        layout="padded",  # 260 k parameters: a call of the attention for each pair costs more than the tokens it saves
        seed=seed,
    )
    data.setup()
    module = PreferenceModule(
        str(model_dir(shared)),
        DPO(beta=RECIPE["beta"]),
        lora=LoRA(**LORA) if mode == "lora" else None,
        optimizer=lambda parameters: AdamW(parameters, lr=LEARNING_RATE[mode], weight_decay=0.0),
    )
    module.configure_model()
    trainer = pl.Trainer(
        max_epochs=RECIPE["epochs"],
        gradient_clip_val=RECIPE["gradient_clip"],
        log_every_n_steps=RECIPE["log_every_n_steps"],
        limit_val_batches=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    start = time.perf_counter()
    trainer.fit(module, data)
    train_seconds = time.perf_counter() - start
    trainer.limit_val_batches = 1.0
    (metrics,) = trainer.validate(module, data, verbose=False)
    return {
        "train_s": train_seconds,
        "held_out_loss": metrics["val/loss"],
        "held_out_accuracy": metrics["val/rewards/accuracies"],
    }


def run_trl(shared: Path, mode: str, seed: int) -> dict[str, float]:
    """Train with TRL's DPOTrainer; training time, and held-out loss and accuracy."""
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOTrainer

    def load(split: str) -> Any:
        rows = load_dataset("json", data_files=str(pairs_file(shared)), split=split)
        return rows.select_columns(["prompt", "chosen", "rejected"])

    model = AutoModelForCausalLM.from_pretrained(model_dir(shared), dtype=torch.float32)
    lora = {"r": LORA["r"], "lora_alpha": LORA["alpha"], "target_modules": LORA["target_modules"]}
    trainer = DPOTrainer(
        model=model,
        args=_trl_config(mode, seed),
        train_dataset=load(TRAIN),
        eval_dataset=load(HELD_OUT),
        processing_class=AutoTokenizer.from_pretrained(model_dir(shared)),
        peft_config=LoraConfig(task_type="CAUSAL_LM", **lora) if mode == "lora" else None,
    )
    start = time.perf_counter()
    trainer.train()
    train_seconds = time.perf_counter() - start
    metrics = trainer.evaluate()
    return {
        "train_s": train_seconds,
        "held_out_loss": metrics["eval_loss"],
        "held_out_accuracy": metrics["eval_rewards/accuracies"],
    }


def _trl_config(mode: str, seed: int) -> Any:
    from trl import DPOConfig

    return DPOConfig(
        output_dir=tempfile.mkdtemp(prefix="trl-"),
        beta=RECIPE["beta"],
        learning_rate=LEARNING_RATE[mode],
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=RECIPE["gradient_clip"],
        per_device_train_batch_size=RECIPE["batch_size"],
        per_device_eval_batch_size=EVAL_BATCH,
        num_train_epochs=RECIPE["epochs"],
        max_length=RECIPE["max_length"],
        logging_steps=RECIPE["log_every_n_steps"],
        seed=seed,
        bf16=False,
        activation_checkpointing=False,
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


SIDES = {"dpo_lightning": run_ours, "trl": run_trl}


def main() -> None:
    """`stories_sides.py SIDE SHARED MODE SEED OUTPUT`: run one side and write its figures as JSON."""
    import torch

    side, shared, mode, seed, output = sys.argv[1:]
    figures = SIDES[side](Path(shared), mode, int(seed))
    figures["threads"] = torch.get_num_threads()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures["peak_rss_mib"] = peak / (2**20 if sys.platform == "darwin" else 2**10)
    Path(output).write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
