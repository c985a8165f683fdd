"""TRL's sides of `compare.py`: its own DPOTrainer as installed, on pairs that are tokenised already."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import DPOConfig, DPOTrainer

from benchmarks.compare_sides import LEARNING_RATE, LORA, RECIPE, SIDES, Spec
from benchmarks.recording import Recorder
from dpo_lightning import TokenizedExample

_END = "<end>"


class RecordedTrainer(DPOTrainer):
    """Takes the ids as they are, and shows losses, first log-probs and the reference's cost to a recorder."""

    recorder: Recorder
    precompute_s: float | None = None

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        dataset = super()._precompute_ref_logps(*args, **kwargs)
        self.precompute_s = time.perf_counter() - start
        return dataset

    def compute_loss(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Watch the forward of the policy on the way."""
        # The policy's forward is the first of a step; the reference's may run through the same module.
        handle = model.register_forward_hook(self._see_logps)
        try:
            loss = super().compute_loss(model, *args, **kwargs)
        finally:
            handle.remove()
        self.recorder.see_loss(loss)
        return loss

    def _see_logps(self, model: Any, inputs: Any, outputs: Any) -> None:
        self.recorder.see_logps(outputs.log_probs.sum(1))


class Clock(TrainerCallback):
    """Hands the end of each step to a recorder."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """The end of a step."""
        self.recorder.end_step()


def triple(pair: TokenizedExample) -> dict[str, list[int]]:
    chosen, rejected = pair.completion_ids
    return {"prompt_ids": pair.prompt_ids, "chosen_ids": chosen, "rejected_ids": rejected}


def run_trl(spec: Spec) -> dict[str, Any]:
    """Train with `DPOTrainer.train`."""
    recorder = Recorder(spec.warmup)
    trainer = RecordedTrainer(
        model=AutoModelForCausalLM.from_pretrained(spec.model, dtype=torch.float32),
        args=_config(spec),
        train_dataset=Dataset.from_list([triple(pair) for pair in spec.examples]),
        processing_class=tokenizer(),
        peft_config=lora_config() if spec.mode == "lora" else None,
        callbacks=[Clock(recorder)],
    )
    trainer.recorder = recorder
    trainer.train()
    return {**recorder.figures(), "precompute_s": trainer.precompute_s}


def _config(spec: Spec) -> DPOConfig:
    """The recipe, the side's settings, and TRL's own default for the rest."""
    return DPOConfig(
        output_dir=spec.scratch,
        beta=RECIPE["beta"],
        max_length=RECIPE["max_length"],
        learning_rate=LEARNING_RATE[spec.mode],
        lr_scheduler_type="constant",
        weight_decay=RECIPE["weight_decay"],
        max_grad_norm=0.0,
        optim="adamw_torch_fused",
        per_device_train_batch_size=spec.batch,
        max_steps=spec.steps,
        train_sampling_strategy="sequential",
        logging_steps=RECIPE["log_every_n_steps"],
        seed=RECIPE["seed"],
        bf16=spec.precision == "bf16",
        use_cpu=spec.device == "cpu",
        dataloader_pin_memory=spec.device == "cuda",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **known_settings(SIDES[spec.side].settings),
    )


def known_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under the names of the installed transformers, which has renamed one."""
    known = {field.name for field in fields(DPOConfig)}
    older = {"activation_checkpointing": "gradient_checkpointing"}
    return {name if name in known else older.get(name, name): value for name, value in settings.items()}


def lora_config() -> LoraConfig:
    return LoraConfig(
        task_type="CAUSAL_LM", r=LORA["r"], lora_alpha=LORA["alpha"], target_modules=LORA["target_modules"]
    )


def tokenizer() -> PreTrainedTokenizerFast:
    """TRL asks it for an id to pad with, and for nothing else."""
    only = Tokenizer(WordLevel({_END: 0}, unk_token=_END))
    return PreTrainedTokenizerFast(tokenizer_object=only, eos_token=_END, pad_token=_END)
