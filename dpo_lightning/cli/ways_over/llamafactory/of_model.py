"""Fields of LLaMA-Factory's configs that say of what model and rows: `model_args` and `data_args`.

Source: `src/llamafactory/hparams/{model_args,data_args}.py`, `data/{parser,converter}.py` and `data/processor/` of
LLaMA-Factory 0.9.6.dev0.
"""

from __future__ import annotations

from dpo_lightning.cli.ways_over.fields import Fate, Field, Kind
from dpo_lightning.cli.ways_over.several import unequal, unneeded, unread

_SAVE_MODEL = "save the model with it (`save_pretrained`), and give that directory as model_name_or_path"
_KERNELS = "kernels change speed, not results"
_SERVING = "read where the model is served or exported, not in training"
_IMAGES = "read of images, videos and sound alone"
_SFT = "its parser refuses it for dpo and kto"

_MODEL = (
    Field("model_name_or_path", Kind.WORD, here="model.policy"),
    Field("adapter_name_or_path", Kind.WORD, here="model.policy, the adapter's directory"),
    Field("trust_remote_code", Kind.TRUTH, False, here="model.model_kwargs.trust_remote_code", harmless=(False,)),
    Field("model_revision", Kind.WORD, "main", here="model.model_kwargs.revision"),
    Field("cache_dir", Kind.WORD, here="model.model_kwargs.cache_dir"),
    Field("moe_aux_loss_coef", Kind.NUMBER, here="model.router_aux_loss_coef"),
    Field(
        "disable_gradient_checkpointing", Kind.TRUTH, False, here="model.gradient_checkpointing, on by default there"
    ),
    Field("quantization_bit", Kind.WHOLE, here="model.quantization_config"),
    Field("quantization_method", Kind.WORD, "bnb", here="model.quantization_config"),
    Field("quantization_type", Kind.WORD, "nf4", here="model.quantization_config.bnb_4bit_quant_type"),
    Field("double_quantization", Kind.TRUTH, True, here="model.quantization_config.bnb_4bit_use_double_quant"),
    *unequal("the weights are spread by trainer.strategy: leave it out", "quantization_device_map"),
    *unequal(_SAVE_MODEL, "adapter_folder rope_scaling resize_vocab add_tokens add_special_tokens"),
    *unequal(_SAVE_MODEL, "new_special_tokens_config train_from_scratch mixture_of_depths split_special_tokens"),
    *unneeded("read with add_tokens alone", "init_special_tokens", "", ("noise_init",)),
    *unequal("shifted sparse attention is not here", "shift_attn"),
    *unneeded(
        "attention is chosen by data.layout: it changes speed, not results", "flash_attn", "data.layout", ("auto",)
    ),
    *unneeded(_KERNELS, "enable_liger_kernel use_unsloth use_unsloth_gc use_v1_kernels"),
    *unneeded("recomputation is never reentrant here", "use_reentrant_gc", "model.gradient_checkpointing", (True,)),
    *unneeded("norms are computed in float32 here", "upcast_layernorm"),
    *unneeded("log-probs are computed in float32 here", "upcast_lmhead_output"),
    *unneeded("transformers' Auto classes choose it", "use_fast_tokenizer low_cpu_mem_usage", "", (True,)),
    *unneeded("tokens of hubs are read from the environment", "hf_hub_token ms_hub_token om_hub_token", "HF_TOKEN"),
    *unneeded("`dpo-lightning doctor` and the run's first lines say what is trained", "print_param_status"),
    *unread(_SERVING, "infer_backend offload_folder use_kv_cache infer_dtype vllm_maxlen vllm_gpu_util"),
    *unread(_SERVING, "vllm_enforce_eager vllm_max_lora_rank vllm_config sglang_maxlen sglang_mem_fraction"),
    *unread(_SERVING, "sglang_tp_size sglang_config sglang_lora_backend export_dir export_size export_device"),
    *unread(_SERVING, "export_quantization_bit export_quantization_dataset export_quantization_nsamples"),
    *unread(_SERVING, "export_quantization_maxlen export_legacy_format export_hub_model_id"),
    *unread(_IMAGES, "image_max_pixels image_min_pixels image_do_pan_and_scan crop_to_patches video_max_pixels"),
    *unread(_IMAGES, "video_min_pixels video_fps video_maxlen use_audio_in_video audio_sampling_rate media_dir"),
    *unequal("experts on the CPU by KTransformers are not here", "use_kt"),
    *unneeded(
        "read with use_kt alone", "kt_cpu_activation kt_weight_path kt_non_expert_weight_path kt_lora_expert_num"
    ),
    *unneeded(
        "read with use_kt alone", "kt_expert_checkpoint_path kt_use_lora_experts kt_lora_expert_intermediate_size"
    ),
)

_DATA = (
    Field("dataset", Kind.WORDS, here="data.dataset, or data.sources"),
    Field("eval_dataset", Kind.WORDS, here="data.val_split"),
    Field("dataset_dir", Kind.ANY, "data", here="where dataset_info.json is, beside the config"),
    Field(
        "template",
        Kind.WORD,
        None,
        Fate.DIFFERS,
        "data.chat_template",
        ("LLaMA-Factory writes strings of its own; here the tokenizer's chat template writes the messages"),
        tells=False,
    ),
    Field(
        "cutoff_len",
        Kind.WHOLE,
        2048,
        Fate.DIFFERS,
        "data.max_length",
        ("longer rows are cut in prompt and completion by their shares there, and at the completion's end here"),
        tells=False,
    ),
    Field("max_samples", Kind.WHOLE, here="data.train_split, as train[:N]"),
    Field("val_size", Kind.NUMBER, 0.0, here="data.val_split"),
    Field("mix_strategy", Kind.WORD, "concat", here="data.sources"),
    Field("interleave_probs", Kind.ANY, here="data.sources, weight"),
    Field("preprocessing_num_workers", Kind.WHOLE, here="data.num_proc"),
    Field("streaming", Kind.TRUTH, False, here="data.streaming"),
    Field("buffer_size", Kind.WHOLE, 16384, here="data.shuffle_buffer"),
    Field("enable_thinking", Kind.TRUTH, True, here="data.chat_template_kwargs.enable_thinking", null=True),
    *unequal("name the files of a mapping in data.val_split of the config that is made", "eval_on_each_dataset"),
    *unequal("the system message is a column of the rows here (format.system): write it into them", "default_system"),
    *unequal("thoughts stand in `reasoning_content` of a message, which the chat template reads", "preserve_thinking"),
    *unequal("tools are written by the chat template here: leave it out", "tool_format"),
    *unequal("tokens of rows are cached by content here: give the rows themselves", "tokenized_path"),
    *unread(_SFT, "train_on_prompt mask_history neat_packing packing"),
    *unread("read of generated text alone", "eval_num_beams"),
    *unneeded("padding is never scored", "ignore_pad_token_for_loss", "", (True,)),
    *unneeded(
        "tokens are cached by content", "overwrite_cache preprocessing_batch_size data_shared_file_system", "", (1000,)
    ),
)

OF_MODEL: tuple[Field, ...] = (*_MODEL, *_DATA)
"""The fields of this file."""
