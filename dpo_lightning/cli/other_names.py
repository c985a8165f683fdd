"""Names that other preference trainers have for what is here, for those who type them out of habit."""

from __future__ import annotations

KEYS = {
    "adam_beta1": "model.optimizer.betas",
    "bf16": "trainer.precision, as bf16-mixed",
    "dataset_name": "data.dataset",
    "dataset_num_proc": "data.num_proc",
    "ddp_timeout": "trainer.strategy, as DDPStrategy with its timeout",
    "deepspeed": "trainer.strategy",
    "eval_steps": "trainer.val_check_interval",
    "fp16": "trainer.precision, as 16-mixed",
    "fsdp": "trainer.strategy",
    "gradient_accumulation_steps": "trainer.accumulate_grad_batches",
    "learning_rate": "model.optimizer.lr",
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
    "micro_batch_size": "data.batch_pairs",
    "model_name_or_path": "model.policy",
    "num_epochs": "trainer.max_epochs",
    "num_train_epochs": "trainer.max_epochs",
    "output_dir": "trainer.default_root_dir",
    "padding_free": "data.layout",
    "per_device_eval_batch_size": "data.eval_batch_pairs",
    "per_device_train_batch_size": "data.batch_pairs",
    "precompute_ref_log_probs": "model.reference, as Precomputed",
    "ref_model": "model.reference",
    "report_to": "trainer.logger",
    "resume_from_checkpoint": "ckpt_path",
    "rpo_alpha": "model.objective, as RPO with its alpha",
    "save_steps": "trainer.callbacks, as ResumableCheckpoint with its every_n_train_steps",
    "use_peft": "model.lora",
    "warmup_ratio": "model.schedule.warmup",
    "weight_decay": "model.optimizer.weight_decay",
}
"""Keys of configs of TRL, axolotl and LLaMA-Factory, with where their value goes."""

LOSSES = {
    "aot": "AOTPaired",
    "aot_unpaired": "AOTUnpaired",
    "apo_down": "APODown",
    "apo_zero": "APOZero",
    "apo_zero_unpaired": "APOZeroUnpaired",
    "bco": "UnpairedBCO",
    "bco_pair": "PairedBCO",
    "discopop": "DiscoPOP",
    "exo_pair": "EXO",
    "hinge": "Hinge",
    "ipo": "IPO with per_token: true",
    "kto": "KTO",
    "nca_pair": "NCA",
    "orpo": "ORPO",
    "robust": "RobustDPO",
    "sft": "SFT",
    "sigmoid": "DPO",
    "sigmoid_norm": "LengthNormalizedDPO",
    "simpo": "SimPO",
    "sppo_hard": "SPPO",
}
"""Names of losses in TRL, with the class here, and what it takes to be the same where names are alike."""


def here(name: str, names: dict[str, str]) -> str | None:
    """Say what a name of another trainer is here; None for one that no other has."""
    found = names.get(name.rpartition(".")[2].lower())
    return None if found is None else f"; what other trainers call `{name.rpartition('.')[2]}` is {found} here"
