"""Fields of axolotl's configs that say on what it trains, and for what: data, templates, objective.

Source: `src/axolotl/utils/schemas/{config,datasets,trl,deprecated,vllm}.py`, `core/builders/rl.py`, `utils/data/rl.py`
and `prompt_strategies/{dpo,kto,orpo}` of axolotl 0.18.0.
"""

from __future__ import annotations

from dpo_lightning.cli.ways_over.fields import Fate, Field, Kind, key
from dpo_lightning.cli.ways_over.several import unequal, unneeded, unread

RL = ("dpo", "ipo", "kto", "orpo", "simpo")
"""The values of `rl` that train on preferences."""
_PACKING = "axolotl packs for fine-tuning alone, and refuses sample_packing with rl; here batches are always packed"
_FINE_TUNING = "read in fine-tuning alone"
_LONG = "rows longer than this are left out there; here their completions lose their end"
_ONLINE = "read with rl: grpo alone"

_OBJECTIVE = (
    Field("rl", Kind.WORD, here="model.objective"),
    Field("rl_beta", Kind.NUMBER, 0.1, here="model.objective.beta, of ipo tau, of orpo odds_weight"),
    Field("dpo_beta", Kind.NUMBER, here="model.objective.beta"),
    Field("dpo_loss_type", Kind.WORDS, ["sigmoid"], here="model.objective"),
    Field("dpo_loss_weights", Kind.NUMBERS, here="model.objective, as Weighted"),
    Field("dpo_use_weighting", Kind.TRUTH, here="model.objective, as WPO", harmless=(False,)),
    Field(
        "dpo_label_smoothing",
        Kind.NUMBER,
        0.0,
        Fate.DIFFERS,
        "model.objective.label_smoothing",
        "no effect there on sigmoid; read by robust and exo_pair alone",
        tells=False,
    ),
    Field("orpo_alpha", Kind.NUMBER, here="model.objective.odds_weight"),
    Field("simpo_gamma", Kind.NUMBER, here="model.objective.gamma_beta_ratio, over beta"),
    Field("cpo_alpha", Kind.NUMBER, here="model.objective, as CPOSimPO's nll_weight; 1 by default there"),
    Field("kto_desirable_weight", Kind.NUMBER, here="model.objective.desirable_weight"),
    Field("kto_undesirable_weight", Kind.NUMBER, here="model.objective.undesirable_weight"),
    Field("precompute_ref_log_probs", Kind.TRUTH, here="model.reference, as Precomputed", harmless=(False,)),
    Field("trl", Kind.MAPPING, here="model.objective.beta", said="of its fields, rl: grpo reads all and others beta"),
    *unneeded(
        "batches are packed here, and the head runs on completions alone", "dpo_padding_free dpo_use_liger_kernel"
    ),
    *unread("no longer read by axolotl, which stops at it", "dpo_use_logits_to_keep dpo_generate_during_eval"),
    *unread("no longer read by axolotl, which stops at it", "dpo_norm_loss rpo_alpha max_packed_sequence_len"),
    *unequal("generate, score and pair are `dpo-lightning rounds` here", "vllm ebft reward_model process_reward_model"),
    *unread("read in reward modelling alone", "center_rewards_coefficient"),
)

_ROWS = (
    Field("datasets", Kind.ANY, here="data.dataset and data.format, or data.sources"),
    Field("test_datasets", Kind.ANY, here="data.val_split"),
    Field("val_set_size", Kind.NUMBER, 0.0, here="data.val_split"),
    Field("sequence_len", Kind.WHOLE, 512, Fate.DIFFERS, "data.max_length", _LONG, tells=False),
    Field(
        "excess_length_strategy",
        Kind.WORD,
        None,
        Fate.DIFFERS,
        "data.max_length",
        "truncate is what max_length does here; drop and raise are not here",
        tells=False,
        choices=("drop", "truncate", "raise"),
    ),
    key("dataset_num_proc", Kind.WHOLE, None, "data.num_proc"),
    Field("dataset_processes", Kind.WHOLE, here="data.num_proc"),
    Field("dataset_exact_deduplication", Kind.TRUTH, here="data.clean", harmless=(False,)),
    Field("shuffle_merged_datasets", Kind.TRUTH, True, Fate.NO_EFFECT_HERE, "", "rows are shuffled in every epoch"),
    *unneeded("each epoch is shuffled by seed", "shuffle_before_merging_datasets"),
    *unneeded("tokens are cached by content", "dataset_prepared_path dataset_keep_in_memory skip_prepare_dataset"),
    *unneeded("tokens are cached by content", "num_dataset_shards_to_save is_preprocess preprocess_iterable"),
    *unneeded("columns that are not read are named", "remove_unused_columns", "data.format.ignore"),
    *unequal("give a slice, such as train[:50%], in `split`", "dataset_shard_num dataset_shard_idx"),
    *unequal("push the rows yourself, or leave it out", "push_dataset_to_hub"),
    *unequal("streams need max_steps here: set data.streaming in the config that is made", "streaming"),
    *unequal("this is pretraining: preferences have `datasets` with `rl`", "pretraining_dataset use_pose"),
    *unequal("filter the rows before, or leave it out", "min_sample_len curriculum_sampling"),
    *unread("TRL's trainers no longer take it", "max_prompt_len"),
    *unread(_FINE_TUNING, "train_on_inputs eval_sequence_len pose_split_on_token_ids pose_max_context_len"),
    *unread(_FINE_TUNING, "pose_num_chunks pretrain_multipack_buffer_size pretrain_multipack_attn"),
    *unread(_FINE_TUNING, "pretraining_sample_concatenation streaming_multipack_buffer_size use_eaft eaft_alpha"),
    *unread(_FINE_TUNING, "eaft_k do_causal_lm_eval eval_causal_lm_metrics do_bench_eval bench_dataset bench_split"),
    *unread(_FINE_TUNING, "eval_table_size eval_max_new_tokens batch_flattening group_by_length role_boundaries"),
    *unread(_FINE_TUNING, "total_num_tokens total_supervised_tokens sample_packing_eff_est eot_tokens"),
    *unread(_PACKING, "sample_packing sample_packing_group_size sample_packing_bin_size sample_packing_sequentially"),
    *unread(_PACKING, "sample_packing_mp_start_method eval_sample_packing multipack_real_batches"),
    *unneeded("padding has no effect on the loss", "pad_to_sequence_len pad_to_multiple_of"),
)

_TEMPLATES = (
    Field("chat_template", Kind.WORD, None, Fate.DIFFERS, "data.chat_template", "see `datasets[].type`", tells=False),
    Field("chat_template_jinja", Kind.WORD, here="data.chat_template, as a file"),
    Field(
        "chat_template_kwargs",
        Kind.MAPPING,
        None,
        Fate.NO_EFFECT_THERE,
        "data.chat_template_kwargs",
        "axolotl's strategies for preferences call the template without them",
    ),
    *unread("the templates of axolotl's preference strategies are called without it", "default_system_message"),
)

OF_DATA: tuple[Field, ...] = (*_OBJECTIVE, *_ROWS, *_TEMPLATES)
"""The fields of this file."""

_SFT = "an SFT data set's field, which no preference strategy reads"
OF_DATASET: tuple[Field, ...] = (
    Field("path", Kind.WORD, here="data.dataset"),
    Field("data_files", Kind.ANY, here="data.dataset"),
    Field("ds_type", Kind.WORD, here="the ending of the file"),
    Field("name", Kind.WORD, here="data.load_options.name"),
    Field("revision", Kind.WORD, here="data.load_options.revision"),
    Field("split", Kind.WORD, here="data.train_split"),
    Field("type", Kind.ANY, here="data.format and data.chat_template"),
    Field("field_messages", Kind.WORD, "messages", here="data.format.prompt"),
    Field("field_chosen", Kind.WORD, "chosen", here="data.format.chosen"),
    Field("field_rejected", Kind.WORD, "rejected", here="data.format.rejected"),
    Field("chat_template", Kind.WORD, None, here="data.chat_template"),
    Field("chat_template_jinja", Kind.WORD, here="data.chat_template, as a file"),
    Field("message_property_mappings", Kind.MAPPING, here="found by itself, as from, value, role, content"),
    Field("message_field_role", Kind.WORD, here="found by itself, as from, role"),
    Field("message_field_content", Kind.WORD, here="found by itself, as value, content"),
    Field("roles", Kind.MAPPING, here="data.format.roles"),
    *unneeded("data sets with code are not loaded", "trust_remote_code"),
    *unequal("give a slice, such as train[:50%], in `split`", "shards shards_idx preprocess_shards"),
    *unequal("read in fine-tuning alone: leave it out", "input_transform conversation input_format length"),
    *unread(_SFT, "field field_human field_model field_tools field_thinking template_thinking_key"),
    *unread(_SFT, "message_field_training message_field_training_detail split_thinking logprobs_field temperature"),
    *unread(_SFT, "roles_to_train train_on_eos train_on_eot drop_system_message step_separator"),
    *unread(_SFT, "max_completion_length train_on_last_step_only sequence_length min_input_id max_input_id seed"),
)
"""Fields of an entry of `datasets` and `test_datasets`."""

_FORMATS = "data.format: templates around texts"
OF_TYPE: tuple[Field, ...] = (
    Field("field_system", Kind.WORD, "system", here=_FORMATS),
    Field("field_prompt", Kind.WORD, "prompt", here="data.format.prompt"),
    Field("field_chosen", Kind.WORD, "chosen", here="data.format.chosen"),
    Field("field_rejected", Kind.WORD, "rejected", here="data.format.rejected"),
    Field("field_completion", Kind.WORD, "completion", here="data.format.completion"),
    Field("field_label", Kind.WORD, "label", here="data.format.label"),
    Field("prompt_format", Kind.WORD, "{prompt}", here="data.format.prompt_template"),
    Field("chosen_format", Kind.WORD, "{chosen}", here="data.format.completion_template"),
    Field("rejected_format", Kind.WORD, "{rejected}", here="data.format.completion_template"),
    Field("completion_format", Kind.WORD, "{completion}", here="data.format.completion_template"),
)
"""Fields of `type` where it is a mapping, as axolotl's user-defined types are."""

OF_TRL: tuple[Field, ...] = (
    Field("beta", Kind.NUMBER, here="model.objective.beta, before rl_beta"),
    *unread(_ONLINE, "max_completion_length use_vllm vllm_mode vllm_server_host vllm_server_port vllm_server_timeout"),
    *unread(_ONLINE, "vllm_guided_decoding_regex reward_funcs reward_weights generation_batch_size num_generations"),
    *unread(_ONLINE, "log_completions num_completions_to_print importance_sampling_level sync_ref_model"),
    *unread(_ONLINE, "ref_model_mixup_alpha ref_model_sync_steps scale_rewards temperature top_p top_k min_p"),
    *unread(_ONLINE, "repetition_penalty generation_kwargs chat_template_kwargs num_iterations epsilon epsilon_high"),
    *unread(_ONLINE, "use_liger_loss loss_type mask_truncated_completions vllm_enable_sleep_mode rollout_func"),
    *unread(_ONLINE, "multi_objective_aggregation use_data_producer async_prefetch prefetch_depth"),
    *unread(_ONLINE, "vllm_sync_interval streaming_partial_batch streaming_min_groups vllm_lora_sync"),
    *unread(_ONLINE, "vllm_importance_sampling_correction vllm_importance_sampling_mode vllm_importance_sampling_cap"),
    *unread(_ONLINE, "off_policy_mask_threshold use_bias_correction_kl reward_num_workers replay_buffer_size"),
    *unread(_ONLINE, "replay_recompute_logps reroll_start_fraction reroll_max_groups skip_zero_advantage_batches"),
)
"""Fields of `trl`."""
