"""Fields of axolotl's configs that say how it trains: optimizer, schedule, precision, devices, logs, checkpoints.

Source: `src/axolotl/utils/schemas/{training,config,integrations,fsdp,vllm}.py` and `core/builders/base.py` of axolotl
0.18.0.
"""

from __future__ import annotations

from dpo_lightning.cli.ways_over.fields import Fate, Field, Kind, key
from dpo_lightning.cli.ways_over.hub import ONCE
from dpo_lightning.cli.ways_over.several import unequal, unneeded, unread

_OPTIMIZER = "AdamW and any other torch optimizer are here: give one of those, or leave it out"
_LOGS = "the logger's own settings: give them to it in trainer.logger"
_SHARDING = "sharding is Lightning's: see configs/hardware, and leave it out"
_KERNELS = "kernels change speed, not results"

_OPTIMIZING = (
    Field("learning_rate", Kind.NUMBER, here="model.optimizer.lr"),
    Field("weight_decay", Kind.NUMBER, 0.0, here="model.optimizer.weight_decay"),
    Field("optimizer", Kind.WORD, "adamw_torch_fused", here="model.optimizer"),
    Field("optim_args", Kind.ANY, here="model.optimizer"),
    Field("adam_beta1", Kind.NUMBER, 0.9, here="model.optimizer.betas"),
    Field("adam_beta2", Kind.NUMBER, 0.999, here="model.optimizer.betas"),
    Field("adam_epsilon", Kind.NUMBER, 1e-8, here="model.optimizer.eps"),
    Field("lr_scheduler", Kind.WORD, "cosine", here="model.schedule"),
    Field("lr_scheduler_kwargs", Kind.MAPPING, here="model.schedule"),
    Field("cosine_min_lr_ratio", Kind.NUMBER, here="model.schedule.floor"),
    Field("warmup_steps", Kind.NUMBER, here="model.schedule.warmup"),
    Field("warmup_ratio", Kind.NUMBER, here="model.schedule.warmup"),
    key("max_grad_norm", Kind.NUMBER, 1.0, "trainer.gradient_clip_val", convert=lambda norm: norm or None),
    *unequal(_OPTIMIZER, "optim_target_modules torchdistx_path embedding_lr embedding_lr_scale lr_groups"),
    *unequal(_OPTIMIZER, "adam_epsilon2 adam_beta3 dion_lr dion_momentum"),
    *unequal("Cosine, Linear and Constant are here", "lr_quadratic_warmup cosine_constant_lr_ratio"),
    *unread("no scheduler of a preference run reads it", "lr_div_factor"),
    *unread("read with optimizer: dion alone", "dion_rank_fraction dion_rank_multiple_of"),
    *unread("read with optimizer: q_galore_adamw8bit alone", "qgalore_rank qgalore_update_proj_gap qgalore_scale"),
    *unread("read with optimizer: q_galore_adamw8bit alone", "qgalore_proj_type qgalore_proj_quant qgalore_proj_bits"),
    *unread("read with optimizer: q_galore_adamw8bit alone", "qgalore_proj_group_size qgalore_cos_threshold"),
    *unread("read with optimizer: q_galore_adamw8bit alone", "qgalore_gamma_proj qgalore_queue_size"),
)

_RUNNING = (
    key("micro_batch_size", Kind.WHOLE, 1, "data.batch_pairs"),
    Field("eval_batch_size", Kind.WHOLE, here="data.eval_batch_pairs"),
    key("gradient_accumulation_steps", Kind.WHOLE, 1, "trainer.accumulate_grad_batches"),
    Field("num_epochs", Kind.NUMBER, 1.0, here="trainer.max_epochs"),
    Field("max_steps", Kind.WHOLE, here="trainer.max_steps"),
    Field("seed", Kind.WHOLE, 42, here="seed_everything, data.seed"),
    Field("gradient_checkpointing", Kind.ANY, False, here="model.gradient_checkpointing"),
    Field("bf16", Kind.ANY, "auto", here="trainer.precision"),
    Field("fp16", Kind.TRUTH, here="trainer.precision", harmless=(False,)),
    Field("bfloat16", Kind.TRUTH, here="trainer.precision", harmless=(False,)),
    Field("float16", Kind.TRUTH, here="trainer.precision", harmless=(False,)),
    Field("float32", Kind.TRUTH, here="trainer.precision", harmless=(False,)),
    Field("logging_steps", Kind.NUMBER, here="trainer.log_every_n_steps"),
    Field("eval_steps", Kind.NUMBER, here="trainer.val_check_interval"),
    Field("evals_per_epoch", Kind.WHOLE, here="trainer.val_check_interval"),
    Field("eval_strategy", Kind.WORD, here="trainer.val_check_interval"),
    Field("evaluation_strategy", Kind.WORD, here="trainer.val_check_interval"),
    Field("save_steps", Kind.NUMBER, here="trainer.callbacks, as ResumableCheckpoint, every_n_train_steps"),
    Field("saves_per_epoch", Kind.WHOLE, here="trainer.callbacks, as ResumableCheckpoint"),
    Field("save_strategy", Kind.WORD, here="trainer.callbacks, as ResumableCheckpoint"),
    Field("save_total_limit", Kind.WHOLE, here="trainer.callbacks, as ResumableCheckpoint, keep"),
    Field("output_dir", Kind.WORD, "./model-out", here="trainer.callbacks, as Export, ResumableCheckpoint"),
    Field(
        "resume_from_checkpoint",
        Kind.WORD,
        None,
        Fate.NO_EFFECT_HERE,
        "--ckpt_path",
        "begin anew here, or go on from a checkpoint of ours with --ckpt_path",
    ),
    Field("early_stopping_patience", Kind.WHOLE, here="trainer.callbacks, as EarlyStopping"),
    Field("metric_for_best_model", Kind.WORD, here="trainer.callbacks, as EarlyStopping, monitor"),
    Field("greater_is_better", Kind.TRUTH, here="trainer.callbacks, as EarlyStopping, mode"),
    Field("plugins", Kind.WORDS, [], here="see the fields that they add"),
    *unequal("give num_epochs or max_steps, and micro_batch_size x gradient_accumulation_steps", "batch_size"),
    *unequal("set micro_batch_size to what fits: `dpo-lightning plan` says what does", "auto_find_batch_size"),
    *unequal("8-bit floats are not here", "fp8 fp8_enable_fsdp_float8_all_gather"),
    *unequal("NEFTune is not here", "neftune_noise_alpha noisy_embedding_alpha"),
    *unequal("a trainer of your own is a subclass of PreferenceModule here", "trainer_cls"),
    *unequal("Export writes the last weights here: leave it out", "load_best_model_at_end"),
    *unneeded("a loss that is not finite ends the run here", "loss_watchdog_threshold loss_watchdog_patience"),
    *unneeded("checkpoints hold all that a resumed run needs", "save_only_model save_first_step dynamic_checkpoint"),
    *unneeded("`--ckpt_path last` goes on where a run was left", "auto_resume_from_checkpoints", "--ckpt_path last"),
    *unneeded("memory is freed by torch", "gc_steps torch_empty_cache_steps gc_collect_steps"),
    *unneeded("recomputation is never reentrant here", "gradient_checkpointing_kwargs selective_checkpointing"),
    *unneeded("memory alone: gradient_checkpointing: offload is here", "activation_offloading layer_offloading"),
    *unneeded("Lightning's loader does that", "dataloader_pin_memory dataloader_prefetch_factor accelerator_config"),
    *unneeded(
        "call torch.set_float32_matmul_precision in Python for it",
        "tf32",
        "torch.set_float32_matmul_precision",
        ("auto",),
    ),
    *unneeded(
        "speed alone", "torch_compile torch_compile_backend torch_compile_mode torch_compile_options deepcompile"
    ),
    *unneeded("throughput is in the log", "include_tokens_per_second include_tkps", "", (True,)),
    *unneeded("Lightning has profilers: trainer.profiler", "profiler_steps profiler_steps_start", "trainer.profiler"),
    key("dataloader_num_workers", Kind.WHOLE, None, "data.num_workers"),
    *unequal("the last batch is trained on here, with its own mean: leave it out", "dataloader_drop_last"),
    *unneeded(
        "models are read by name and file, not by the hub's client", "hf_use_auth_token strict axolotl_config_path"
    ),
    Field("hub_model_id", Kind.WORD, here="trainer.callbacks, as Export with its push_to"),
    Field("hub_strategy", Kind.WORD, "every_save", Fate.DIFFERS, said=ONCE, tells=False),
    Field("hub_revision", Kind.WORD, here="trainer.callbacks, as Export with its revision"),
)

_ATTENTION = (
    *unneeded(
        "attention is chosen by data.layout: it changes speed, not results",
        "attn_implementation flash_attention sdp_attention flex_attention eager_attention xformers_attention "
        "sage_attention flash_optimum flash_attn_cross_entropy flash_attn_fuse_mlp flash_attn_rms_norm "
        "flex_attn_compile_kwargs gemma4_hybrid_attn_impl large_head_attention flash_attn_d512 sdpa_varlen",
        "data.layout",
    ),
    *unneeded(_KERNELS, "chunked_cross_entropy chunked_cross_entropy_num_chunks"),
    *unequal("shifted sparse attention is not here", "s2_attention"),
)

_DEVICES = (
    Field("deepspeed", Kind.ANY, None, Fate.REFUSED, "trainer.strategy", f"DeepSpeed is not here; {_SHARDING}"),
    Field("fsdp", Kind.ANY, None, Fate.REFUSED, "trainer.strategy", _SHARDING, harmless=([], False)),
    Field("fsdp_config", Kind.ANY, None, Fate.REFUSED, "trainer.strategy", _SHARDING, harmless=({},)),
    *unneeded("read with fsdp_config alone", "fsdp_version fsdp_final_state_dict_type"),
    *unequal(_SHARDING, "dp_shard_size dp_replicate_size tensor_parallel_size", (1,)),
    *unequal("sequences are not split over devices here", "context_parallel_size sequence_parallel_degree", (1,)),
    *unneeded("read with context_parallel_size alone", "heads_k_stride ring_attn_func"),
    Field("ddp_timeout", Kind.WHOLE, here="trainer.strategy, as DDPStrategy with its timeout"),
    Field("ddp_bucket_cap_mb", Kind.WHOLE, here="trainer.strategy, as DDPStrategy with its argument"),
    Field("ddp_broadcast_buffers", Kind.TRUTH, here="trainer.strategy, as DDPStrategy with its argument"),
    Field("ddp_find_unused_parameters", Kind.TRUTH, here="trainer.strategy, as DDPStrategy with its argument"),
    *unneeded("runs beside each other are `dpo-lightning sweep`", "use_ray ray_run_name ray_num_workers", "", (1,)),
    *unneeded("runs beside each other are `dpo-lightning sweep`", "resources_per_worker"),
)

_LOGGING = (
    Field("wandb_project", Kind.WORD, here="trainer.logger, WandbLogger's project"),
    Field("wandb_name", Kind.WORD, here="trainer.logger, WandbLogger's name"),
    Field("wandb_entity", Kind.WORD, here="trainer.logger, WandbLogger's entity"),
    Field("use_wandb", Kind.TRUTH, here="trainer.logger, as WandbLogger", harmless=(False,)),
    Field("use_tensorboard", Kind.TRUTH, here="trainer.logger, as TensorBoardLogger", harmless=(False,)),
    Field("use_mlflow", Kind.TRUTH, here="trainer.logger, as MLFlowLogger", harmless=(False,)),
    Field("use_comet", Kind.TRUTH, here="trainer.logger, as CometLogger", harmless=(False,)),
    *unneeded(_LOGS, "wandb_run_id wandb_mode wandb_watch wandb_log_model", "trainer.logger"),
    *unneeded(_LOGS, "mlflow_tracking_uri mlflow_experiment_name mlflow_run_name", "trainer.logger"),
    *unneeded(_LOGS, "hf_mlflow_log_artifacts comet_api_key comet_workspace comet_project_name", "trainer.logger"),
    *unneeded(_LOGS, "comet_experiment_key comet_mode comet_online comet_experiment_config", "trainer.logger", (True,)),
    *unneeded("Lightning has no logger for it", "use_trackio trackio_project_name trackio_run_name trackio_space_id"),
    *unneeded("Lightning has no logger for it", "use_otel_metrics otel_metrics_host otel_metrics_port"),
    *unneeded("a page to chat with the model", "gradio_title gradio_share gradio_server_name gradio_server_port"),
    *unneeded("a page to chat with the model", "gradio_max_new_tokens gradio_temperature"),
    Field("generate_samples", Kind.TRUTH, False, here="trainer.callbacks, as SampleTable", harmless=(False,)),
    Field("num_generation_samples", Kind.WHOLE, 3, here="trainer.callbacks, as SampleTable, prompts"),
    Field("generation_max_new_tokens", Kind.WHOLE, 50, here="trainer.callbacks, as SampleTable, max_new_tokens"),
    *unneeded(
        "SampleTable has settings of its own", "generation_temperature generation_top_p generation_top_k", "", (0.7,)
    ),
    *unneeded(
        "SampleTable takes the prompts of the rows", "generation_prompt_ratio generation_do_sample", "", (0.5, True)
    ),
)

_SWANLAB = "Lightning has no logger for it"
PLUGINS = (
    "axolotl.integrations.liger.LigerPlugin",
    "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin",
    "axolotl.integrations.kernels.KernelsPlugin",
    "axolotl.integrations.swanlab.SwanLabPlugin",
)
"""Plugins whose run is the same without them: those of speed, and of a logger."""
OF_PLUGINS = (
    *unneeded(
        _KERNELS,
        "liger_rope liger_rms_norm liger_rms_norm_gated liger_layer_norm liger_swiglu liger_glu_activation "
        "liger_cross_entropy liger_fused_linear_cross_entropy cut_cross_entropy use_scattermoe use_sonicmoe",
    ),
    *unread("its loss is a sum over tokens of fine-tuning", "liger_use_token_scaling"),
    *unneeded(
        _SWANLAB,
        "use_swanlab swanlab_project swanlab_experiment_name swanlab_description swanlab_mode swanlab_workspace "
        "swanlab_api_key swanlab_log_model swanlab_web_host swanlab_api_host swanlab_lark_webhook_url "
        "swanlab_lark_secret swanlab_log_completions swanlab_completion_log_interval swanlab_completion_max_buffer",
    ),
)
"""Fields that these plugins add."""

OF_RUN: tuple[Field, ...] = (*_OPTIMIZING, *_RUNNING, *_ATTENTION, *_DEVICES, *_LOGGING)
"""The fields of this file."""
