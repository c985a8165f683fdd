"""Names that other preference trainers have for what is here, for those who type them out of habit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple


class Loss(NamedTuple):
    """An objective with settings; as text it is what a person writes, `IPO with per_token: true`.

    Attributes:
        name: Name of its class.
        settings: Arguments with their values.
    """

    name: str
    settings: tuple[tuple[str, bool], ...] = ()

    def __str__(self) -> str:
        written = ", ".join(f"{key}: {json.dumps(value)}" for key, value in self.settings)
        return f"{self.name} with {written}" if written else self.name


KEYS = {
    "adam_beta1": "model.optimizer.betas",
    "beta": "model.objective.beta",
    "bf16": "trainer.precision, as bf16-mixed",
    "cutoff_len": "data.max_length",
    "dataloader_num_workers": "data.num_workers",
    "dataset_name": "data.dataset",
    "dataset_num_proc": "data.num_proc",
    "ddp_timeout": "trainer.strategy, as DDPStrategy with its timeout",
    "deepspeed": "trainer.strategy",
    "eval_dataset": "data.val_split",
    "eval_steps": "trainer.val_check_interval",
    "eval_strategy": "trainer.val_check_interval",
    "fp16": "trainer.precision, as 16-mixed",
    "fsdp": "trainer.strategy",
    "generate_during_eval": "trainer.callbacks, as SampleTable",
    "gradient_accumulation_steps": "trainer.accumulate_grad_batches",
    "label_smoothing": "model.objective.label_smoothing",
    "learning_rate": "model.optimizer.lr",
    "load_in_4bit": "model.quantization_config",
    "logging_steps": "trainer.log_every_n_steps",
    "lora_alpha": "model.lora.alpha",
    "lora_dropout": "model.lora.dropout",
    "lora_r": "model.lora.r",
    "lora_rank": "model.lora.r",
    "lora_target_modules": "model.lora.target_modules",
    "loss_type": "model.objective",
    "lr": "model.optimizer.lr",
    "lr_scheduler_type": "model.schedule",
    "max_grad_norm": "trainer.gradient_clip_val",
    "max_seq_length": "data.max_length",
    "micro_batch_size": "data.batch_pairs",
    "model_name_or_path": "model.policy",
    "num_epochs": "trainer.max_epochs",
    "num_train_epochs": "trainer.max_epochs",
    "optim": "model.optimizer",
    "output_dir": "trainer.default_root_dir",
    "padding_free": "data.layout",
    "per_device_eval_batch_size": "data.eval_batch_pairs",
    "per_device_train_batch_size": "data.batch_pairs",
    "precompute_ref_log_probs": "model.reference, as Precomputed",
    "ref_model_name_or_path": "model.reference",
    "ref_model": "model.reference",
    "report_to": "trainer.logger",
    "resume_from_checkpoint": "ckpt_path",
    "rpo_alpha": "model.objective, as RPO with its alpha",
    "save_steps": "trainer.callbacks, as ResumableCheckpoint with its every_n_train_steps",
    "sequence_len": "data.max_length",
    "torch_dtype": "trainer.precision",
    "train_dataset": "data.dataset",
    "use_peft": "model.lora",
    "val_set_size": "data.val_split",
    "warmup_ratio": "model.schedule.warmup",
    "weight_decay": "model.optimizer.weight_decay",
}
"""Keys of configs of TRL, axolotl and LLaMA-Factory, with where their value goes."""

LOSSES = {
    "aot": Loss("AOTPaired"),
    "aot_unpaired": Loss("AOTUnpaired"),
    "apo_down": Loss("APODown"),
    "apo_zero": Loss("APOZero"),
    "apo_zero_unpaired": Loss("APOZeroUnpaired"),
    "bco": Loss("UnpairedBCO"),
    "bco_pair": Loss("PairedBCO"),
    "discopop": Loss("DiscoPOP"),
    "exo_pair": Loss("EXO"),
    "hinge": Loss("Hinge"),
    "ipo": Loss("IPO", (("per_token", True),)),
    "kto": Loss("KTO"),
    "nca_pair": Loss("NCA"),
    "orpo": Loss("ORPO"),
    "robust": Loss("RobustDPO"),
    "sft": Loss("SFT"),
    "sigmoid": Loss("DPO"),
    "sigmoid_norm": Loss("LengthNormalizedDPO"),
    "simpo": Loss("SimPO"),
    "sppo_hard": Loss("SPPO"),
}
"""Names of losses in TRL, with what is the same here."""

OBJECTS = {
    "adamw_8bit": "bitsandbytes.optim.AdamW8bit",
    "adamw_bnb_8bit": "bitsandbytes.optim.AdamW8bit",
    "adamw_hf": "AdamW",
    "adamw_torch": "AdamW",
    "adamw_torch_fused": "AdamW with fused: true",
    "bf16": "bf16-mixed",
    "csv": "CSVLogger",
    "fp16": "16-mixed",
    "fp32": "32-true",
    "fsdp2": "ModelParallelStrategy, as in configs/hardware/fsdp2.yaml,",
    "lion_8bit": "bitsandbytes.optim.Lion8bit",
    "mlflow": "MLFlowLogger",
    "paged_adamw_32bit": "bitsandbytes.optim.PagedAdamW32bit",
    "paged_adamw_8bit": "bitsandbytes.optim.PagedAdamW8bit",
}
"""Names of optimizers, loggers, precisions and strategies, with what they are here."""


def here(name: str, names: Mapping[str, object]) -> str | None:
    """Say what a name of another trainer is here; None for one that no other has."""
    found = names.get(name.rpartition(".")[2].lower())
    return None if found is None else f"; what other trainers call `{name.rpartition('.')[2]}` is {found} here"
