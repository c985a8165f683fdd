"""The fields of transformers' TrainingArguments that a training step depends on, with TRL's defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dpo_lightning.cli.ways_over.fields import Field, Kind, idle, idle_there, key, refused, together
from dpo_lightning.cli.ways_over.optimizer import SCHEDULE_NAMES

_NEAR = "a warm-up begins with a rate of 0 there: TransformersSchedule has the same rates, Linear and Cosine do not"
_ORDER = "the seed is the same, the order of rows is another"
_BF16 = "null is true where fp16 is not set"
_SHARDED = "merge configs/hardware/fsdp2.yaml with the config"
_OTHER_BATCHES = "batches are planned before the run"


def with_defaults(fields: Sequence[Field], defaults: Mapping[str, Any]) -> list[Field]:
    """Return the fields with other defaults, for a tool that changes them."""
    return [replace(each, default=defaults.get(each.name, each.default)) for each in fields]


STEP = (
    key("per_device_train_batch_size", Kind.WHOLE, 8, "data.batch_pairs"),
    key("gradient_accumulation_steps", Kind.WHOLE, 1, "trainer.accumulate_grad_batches"),
    together("num_train_epochs", Kind.NUMBER, 3.0, "trainer.max_epochs"),
    together("max_steps", Kind.WHOLE, -1, "trainer.max_steps"),
    together("learning_rate", Kind.NUMBER, 1e-6, "model.optimizer.lr"),
    together("lr_scheduler_type", Kind.WORD, "linear", "model.schedule", choices=SCHEDULE_NAMES),
    together("lr_scheduler_kwargs", Kind.MAPPING, None, "model.schedule, as TransformersSchedule with its settings"),
    together("warmup_steps", Kind.NUMBER, 0, "model.schedule.warmup", _NEAR),
    together("optim", Kind.WORD, "adamw_torch_fused", "model.optimizer"),
    idle_there("optim_args", Kind.WORD, None, "no optimizer that is the same here reads them", tells=False),
    together("weight_decay", Kind.NUMBER, 0.0, "model.optimizer.weight_decay"),
    together("adam_beta1", Kind.NUMBER, 0.9, "model.optimizer.betas"),
    together("adam_beta2", Kind.NUMBER, 0.999, "model.optimizer.betas"),
    together("adam_epsilon", Kind.NUMBER, 1e-8, "model.optimizer.eps"),
    refused("optim_target_modules", Kind.ANY, None, "optimizers of low rank are given by a class of your own"),
    idle("average_tokens_across_devices", Kind.TRUTH, True, "every step is the mean over all its pairs, on any device"),
    key("max_grad_norm", Kind.NUMBER, 1.0, "trainer.gradient_clip_val", convert=lambda norm: norm or None),
    idle_there("label_smoothing_factor", Kind.NUMBER, 0.0, "it is of a classifier's loss; label_smoothing is DPO's"),
    together("bf16", Kind.TRUTH, None, "trainer.precision, as bf16-mixed", _BF16),
    together("fp16", Kind.TRUTH, False, "trainer.precision, as 16-mixed"),
    idle("bf16_full_eval", Kind.TRUTH, False, "validation has the precision of training"),
    idle("fp16_full_eval", Kind.TRUTH, False, "validation has the precision of training"),
    refused("tf32", Kind.TRUTH, None, "call torch.set_float32_matmul_precision in Python", harmless=(False,)),
    together("activation_checkpointing", Kind.TRUTH, None, "model.gradient_checkpointing"),
    idle(
        "activation_checkpointing_kwargs", Kind.MAPPING, None, "never with reentry; the numbers are equal", tells=False
    ),
    together("gradient_checkpointing", Kind.TRUTH, True, "model.gradient_checkpointing"),
    idle("gradient_checkpointing_kwargs", Kind.MAPPING, None, "never with reentry; the numbers are equal", tells=False),
    together(
        "torch_compile",
        Kind.TRUTH,
        False,
        "model.fused_layers, as compile",
        "the elementwise work of layers is compiled, not the whole model",
    ),
    idle("torch_compile_backend", Kind.WORD, None, "model.fused_layers takes the default"),
    idle("torch_compile_mode", Kind.WORD, None, "model.fused_layers takes the default"),
    idle("use_liger_kernel", Kind.TRUTH, False, "logits are never whole here, and model.fused_layers fuses layers"),
    idle("liger_kernel_config", Kind.MAPPING, None, "logits are never whole here, and model.fused_layers fuses layers"),
    idle("use_cache", Kind.TRUTH, False, "training keeps no cache of keys and values"),
    refused("neftune_noise_alpha", Kind.NUMBER, None, "no noise is added to embeddings", harmless=(0, 0.0)),
    idle("torch_empty_cache_steps", Kind.WHOLE, None, "memory of batches is planned"),
    refused("auto_find_batch_size", Kind.TRUTH, False, "set data.batch_pairs or batch_tokens by `dpo-lightning plan`"),
    together("seed", Kind.WHOLE, 42, "seed_everything, data.seed", _ORDER, tells=True),
    together("data_seed", Kind.WHOLE, None, "data.seed", _ORDER, tells=True),
    together("full_determinism", Kind.TRUTH, False, "trainer.deterministic"),
    together("use_cpu", Kind.TRUTH, False, "trainer.accelerator, as cpu"),
)
"""Fields of an optimizer step."""

LOADING = (
    idle("dataloader_drop_last", Kind.TRUTH, False, f"the last rows are trained on too: {_OTHER_BATCHES}"),
    key("dataloader_num_workers", Kind.WHOLE, 0, "data.num_workers"),
    idle("dataloader_pin_memory", Kind.TRUTH, True, "always, on a GPU"),
    idle("dataloader_persistent_workers", Kind.TRUTH, False, _OTHER_BATCHES),
    idle("dataloader_prefetch_factor", Kind.WHOLE, None, _OTHER_BATCHES),
    idle("dataloader_multiprocessing_context", Kind.WORD, None, _OTHER_BATCHES),
    idle("dataloader_in_order", Kind.TRUTH, True, _OTHER_BATCHES),
    idle("remove_unused_columns", Kind.TRUTH, True, "columns that nothing reads are told"),
    idle("label_names", Kind.WORDS, None, "formats know their columns"),
    together(
        "train_sampling_strategy",
        Kind.WORD,
        "random",
        "data.length_grouped",
        "sequential is refused: data.order has the orders that there are",
        choices=("random", "sequential", "group_by_length"),
    ),
    idle("length_column_name", Kind.WORD, "length", "lengths are those of the tokens"),
)
"""How batches are made and loaded."""

DEVICES = (
    together("ddp_find_unused_parameters", Kind.TRUTH, None, "trainer.strategy, as DDPStrategy with its argument"),
    together("ddp_bucket_cap_mb", Kind.WHOLE, None, "trainer.strategy, as DDPStrategy with its argument"),
    together("ddp_broadcast_buffers", Kind.TRUTH, None, "trainer.strategy, as DDPStrategy with its argument"),
    together("ddp_static_graph", Kind.TRUTH, None, "trainer.strategy, as DDPStrategy with its argument"),
    together("ddp_backend", Kind.WORD, None, "trainer.strategy, as DDPStrategy with its process_group_backend"),
    together("ddp_timeout", Kind.WHOLE, 1800, "trainer.strategy, as DDPStrategy with its timeout"),
    refused("fsdp", Kind.ANY, None, _SHARDED, here="trainer.strategy", tells=False),
    refused("fsdp_config", Kind.ANY, None, _SHARDED, here="trainer.strategy", tells=False),
    refused("deepspeed", Kind.ANY, None, _SHARDED, here="trainer.strategy", tells=False),
    refused("parallelism_config", Kind.ANY, None, "merge a file of configs/hardware/ with the config", tells=False),
    idle("accelerator_config", Kind.ANY, None, "batches are split over devices as they are planned"),
    idle("local_rank", Kind.WHOLE, -1, "the launcher's, which Lightning reads"),
    idle("debug", Kind.ANY, "", "no trace of overflow is taken", harmless=([],)),
    idle("skip_memory_metrics", Kind.TRUTH, True, "memory is logged"),
)
"""Several devices."""
