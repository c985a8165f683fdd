"""Fields of LLaMA-Factory's configs that say what is trained and for what: `finetuning_args` and `generating_args`.

Source: `src/llamafactory/hparams/{finetuning_args,generating_args,training_args}.py`, `train/dpo/trainer.py`,
`train/kto/trainer.py` of LLaMA-Factory 0.9.6.dev0, and TRL 0.24.0, the newest that it takes.
"""

from __future__ import annotations

from dpo_lightning.cli.ways_over.fields import Fate, Field, Kind
from dpo_lightning.cli.ways_over.several import unequal, unneeded, unread

STAGES = ("dpo", "kto")
"""The values of `stage` that train on preferences."""
LOSSES = ("sigmoid", "hinge", "ipo", "kto_pair", "orpo", "simpo")
"""The values of `pref_loss`."""
_ADAPTERS = "the adapters here are PEFT's LoRA: set finetuning_type: lora, or train a PEFT model from Python"
_OPTIMIZER = "AdamW and any other torch optimizer are here: give one of those in optim, or leave it out"
_PPO = "read by stage: ppo alone"
_SAMPLING = "read where text is generated, which stage: dpo and kto do not"
_SFT = "read by stage: sft alone"

_PREFERENCE = (
    Field("stage", Kind.WORD, "sft", here="model.objective"),
    Field(
        "pref_loss",
        Kind.WORD,
        "sigmoid",
        Fate.DIFFERS,
        "model.objective",
        ("with TRL 0.20 to 0.24 its trainer calls TRL's loss without this name: hinge, ipo and kto_pair were sigmoid"),
        tells=False,
        choices=LOSSES,
    ),
    Field("pref_beta", Kind.NUMBER, 0.1, here="model.objective.beta, of orpo odds_weight"),
    Field("pref_ftx", Kind.NUMBER, 0.0, here="model.objective, as RPO's alpha, or Weighted with SFT"),
    Field(
        "pref_bco_weight",
        Kind.NUMBER,
        0.0,
        Fate.DIFFERS,
        "model.objective, as Weighted with PairedBCO",
        ("the shift of the rewards is the mean over the whole run there, and a running mean here"),
    ),
    Field("simpo_gamma", Kind.NUMBER, 0.5, here="model.objective.gamma_beta_ratio, over pref_beta"),
    Field("dpo_label_smoothing", Kind.NUMBER, 0.0, here="model.objective.label_smoothing"),
    Field(
        "ld_alpha",
        Kind.NUMBER,
        None,
        Fate.DIFFERS,
        "model.objective, as LDDPO",
        ("tokens beyond the shorter completion weigh alpha in the policy alone there, in the reference too here"),
    ),
    Field("kto_chosen_weight", Kind.NUMBER, 1.0, here="model.objective.desirable_weight"),
    Field("kto_rejected_weight", Kind.NUMBER, 1.0, here="model.objective.undesirable_weight"),
    Field("ref_model", Kind.WORD, here="model.reference, as FrozenCopy"),
    *unequal("merge the adapter, and give the merged model as ref_model", "ref_model_adapters"),
    *unequal(
        "give the reference's quantisation in model.reference.init_args.model_kwargs", "ref_model_quantization_bit"
    ),
    *unread(_PPO, "ppo_buffer_size ppo_epochs ppo_score_norm ppo_target ppo_whiten_rewards reward_model"),
    *unread(_PPO, "reward_model_adapters reward_model_quantization_bit reward_model_type"),
    *unread(_SFT, "use_dft_loss use_asft_loss asft_alpha use_eaft_loss eaft_alpha compute_accuracy"),
    *unread(_SFT, "include_effective_tokens_per_second"),
)

_TRAINED = (
    Field(
        "finetuning_type", Kind.WORD, "lora", here="model.lora, full is none", choices=("lora", "full", "freeze", "oft")
    ),
    Field("lora_rank", Kind.WHOLE, 8, here="model.lora.r"),
    Field("lora_alpha", Kind.NUMBER, here="model.lora.alpha, twice lora_rank by default there"),
    Field(
        "lora_dropout",
        Kind.NUMBER,
        0.0,
        Fate.NO_EFFECT_THERE,
        "model.lora.dropout",
        ("its DPO and KTO trainers switch every dropout off once adapters are there"),
    ),
    Field("lora_target", Kind.WORD, "all", here="model.lora.target_modules"),
    Field("additional_target", Kind.WORD, here="model.lora.modules_to_save"),
    Field("use_rslora", Kind.TRUTH, False, here="model.lora.use_rslora"),
    Field("use_dora", Kind.TRUTH, False, here="model.lora.use_dora"),
    *unequal(_ADAPTERS, "loraplus_lr_ratio pissa_init pissa_convert create_new_adapter use_llama_pro"),
    *unneeded("read with loraplus_lr_ratio or pissa_init alone", "loraplus_lr_embedding pissa_iter", "", (1e-6, 16)),
    *unneeded("read with finetuning_type: freeze or oft alone", "freeze_trainable_layers freeze_trainable_modules"),
    *unneeded("read with finetuning_type: freeze or oft alone", "freeze_extra_modules module_dropout oft_rank"),
    *unneeded("read with finetuning_type: freeze or oft alone", "oft_block_size oft_target"),
    *unneeded("no image models are trained here", "freeze_vision_tower freeze_multi_modal_projector", "", (True,)),
    *unequal("adapters or all weights are trained here: leave it out", "freeze_language_model"),
)

_OPTIMIZING = (
    *unequal(_OPTIMIZER, "use_galore use_apollo use_badam use_adam_mini use_muon"),
    *unneeded("read with use_galore alone", "galore_target galore_rank galore_update_interval galore_scale"),
    *unneeded("read with use_galore alone", "galore_proj_type galore_layerwise"),
    *unneeded(
        "read with use_apollo alone", "apollo_target apollo_rank apollo_update_interval apollo_scale apollo_proj"
    ),
    *unneeded("read with use_apollo alone", "apollo_proj_type apollo_scale_type apollo_layerwise apollo_scale_front"),
    *unneeded("read with use_badam alone", "badam_mode badam_start_block badam_switch_mode badam_switch_interval"),
    *unneeded("read with use_badam alone", "badam_update_ratio badam_mask_mode badam_verbose"),
    Field("pure_bf16", Kind.TRUTH, False, here="trainer.precision, as bf16-true"),
    Field(
        "disable_shuffling",
        Kind.TRUTH,
        False,
        Fate.REFUSED,
        "data.order",
        "rows are shuffled here; give data.order a curriculum, or leave it out",
    ),
    Field("early_stopping_steps", Kind.WHOLE, here="trainer.callbacks, as EarlyStopping, patience"),
    Field("plot_loss", Kind.TRUTH, False, here="trainer.logger, as PlotLogger", harmless=(False,)),
)

_ELSEWHERE = (
    *unequal("other engines are not here: leave it out", "use_mca use_megatron_bridge use_hyper_parallel"),
    *unequal("sequences are not split over devices here", "hyper_parallel_cp_size", (1,)),
    *unneeded("read with use_hyper_parallel alone", "hyper_parallel_args"),
    *unneeded("Lightning has no logger for it", "use_swanlab swanlab_project swanlab_workspace swanlab_run_name"),
    *unneeded("Lightning has no logger for it", "swanlab_mode swanlab_api_key swanlab_logdir swanlab_lark_webhook_url"),
    *unneeded("Lightning has no logger for it", "swanlab_lark_secret"),
    *unneeded("runs beside each other are `dpo-lightning sweep`", "ray_num_workers ray_init_kwargs", "", (1,)),
    *unneeded("torchrun's own options", "master_addr master_port"),
    *unneeded(
        "Lightning has profilers", "enable_torch_profiler profiler_output_dir profiler_wait_steps", "trainer.profiler"
    ),
    *unneeded(
        "Lightning has profilers", "profiler_warmup_steps profiler_active_steps profiler_repeat", "trainer.profiler"
    ),
    *unneeded("Lightning has profilers", "profiler_record_shapes profiler_profile_memory", "trainer.profiler", (True,)),
    *unneeded("Lightning has profilers", "profiler_with_stack profile_modules", "trainer.profiler", (True,)),
    *unequal("8-bit floats are not here", "fp8 fp8_enable_fsdp_float8_all_gather"),
    *unneeded("read with fp8 alone", "fp8_backend"),
    *unneeded("a run here writes beside what is there, or says why it cannot", "overwrite_output_dir"),
    *unread(_SAMPLING, "do_sample temperature top_p top_k num_beams max_length max_new_tokens repetition_penalty"),
    *unread(_SAMPLING, "length_penalty skip_special_tokens"),
)

OF_METHOD: tuple[Field, ...] = (*_PREFERENCE, *_TRAINED, *_OPTIMIZING, *_ELSEWHERE)
"""The fields of this file."""
