"""TRL's sides of `gpu.py`: its own DPOTrainer as installed, with what makes it fastest, or its defaults.

What the source of TRL 1.16.0 does with its settings, and what these sides do about it:

* `padding_free` is ignored with a warning.
* The head is always the chunked one; on CUDA its tiles are folded by Triton.
* `use_liger_kernel` is applied to the policy alone, when the training starts. Here both models get the same kernels
  from the beginning, so that a reference in the step or before it has them as well.
* A mask with padding keeps SDPA from its flash kernel. Rows are padded on the right, where a causal model needs none:
  a mask of ones gives the same log-probs, and `is_causal` instead.
* Adapters are float32 beside a bfloat16 base; here they are bfloat16, as ours are.
* With a reference that is computed before, all weights are hashed on the host first; that is left out.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import torch
from datasets import Dataset
from trl import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference

from benchmarks.compare_models import draw_adapters, fuse_by_liger, random_model
from benchmarks.compare_sides import LEARNING_RATE, RECIPE
from benchmarks.gpu_job import Job
from benchmarks.gpu_rows import MAX_LENGTH, SIDES, GpuSide
from benchmarks.gpu_timing import DeviceRecorder
from benchmarks.side_trl import Clock, RecordedTrainer, known_settings, lora_config, tokenizer, triple


class GpuClock(Clock):
    """Shows the first gradients, too."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Take their norm, of the first step only."""
        self.recorder.see_gradients(model.parameters())  # type: ignore[attr-defined]


class UnmaskedCollator(DataCollatorForPreference):
    """Hides the padding, which stands on the right and which no token before it sees."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Make the batch."""
        batch = super().torch_call(examples)
        return {**batch, "attention_mask": torch.ones_like(batch["attention_mask"])}


def train(job: Job, settings: dict[str, Any]) -> dict[str, Any]:
    """Train warm-up steps, the measured ones and one that is profiled; return the figures."""
    side, mode = SIDES[settings["side"]], settings["mode"]
    recorder = DeviceRecorder(job.warmup, job.steps, job.device)
    needs_reference = mode == "full" and not side.stored
    policy, *reference = (_model(job, settings, side) for _ in range(1 + needs_reference))
    collator = UnmaskedCollator(pad_token_id=0, max_length=MAX_LENGTH) if side.flash == "sdpa" else None
    with patch("trl.trainer.dpo_trainer.hash_module", lambda _: settings["profile"]):
        trainer = RecordedTrainer(
            model=policy,
            ref_model=reference[0] if reference else None,
            args=_config(job, settings, side, recorder.all_steps),
            data_collator=collator,
            train_dataset=Dataset.from_list([triple(pair) for pair in job.examples(settings)]),
            processing_class=tokenizer(),
            peft_config=lora_config() if mode == "lora" else None,
            callbacks=[GpuClock(recorder)],
        )
    if mode == "lora":
        _narrow_adapters(trainer.model)
    trainer.recorder = recorder
    trainer.train()
    return {**recorder.figures(), "precompute_s": trainer.precompute_s}


def _model(job: Job, settings: dict[str, Any], side: GpuSide) -> Any:
    dtype = torch.bfloat16 if settings["mode"] == "lora" else torch.float32
    model = random_model(settings["model"], MAX_LENGTH, job.device, dtype)
    if side.flash == "package":
        model.set_attn_implementation("flash_attention_2")
    if side.liger:
        fuse_by_liger(model, job.device)
    return model


def _narrow_adapters(model: Any) -> None:
    """Make the adapters bfloat16, and no buffer: RoPE's frequencies stay in float32."""
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.to(torch.bfloat16)
    draw_adapters(model)


def _config(job: Job, settings: dict[str, Any], side: GpuSide, steps: int) -> DPOConfig:
    mode = settings["mode"]
    return DPOConfig(
        output_dir=job.scratch,
        beta=RECIPE["beta"],
        max_length=MAX_LENGTH,
        learning_rate=LEARNING_RATE[mode],
        lr_scheduler_type="constant",
        weight_decay=RECIPE["weight_decay"],
        max_grad_norm=0.0,
        optim="adamw_torch_fused",
        per_device_train_batch_size=settings["pairs"],
        max_steps=steps,
        train_sampling_strategy="sequential",
        logging_steps=RECIPE["log_every_n_steps"],
        seed=RECIPE["seed"],
        bf16=mode == "full",
        use_cpu=job.device == "cpu",
        dataloader_pin_memory=job.device == "cuda",
        dataloader_num_workers=2 if job.device == "cuda" else 0,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        precompute_ref_log_probs=side.stored,
        **known_settings({"activation_checkpointing": side.checkpointing}),
    )
