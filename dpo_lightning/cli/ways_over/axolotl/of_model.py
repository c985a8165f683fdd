"""Fields of axolotl's configs that say what is trained: model, tokenizer, adapter, quantisation.

Source: `src/axolotl/utils/schemas/{model,peft,config,deprecated,quantization}.py` of axolotl 0.18.0.
"""

from __future__ import annotations

from dpo_lightning.cli.ways_over.fields import Fate, Field, Kind
from dpo_lightning.cli.ways_over.several import unequal, unneeded, unread

_SAVE_MODEL = "save the model with it (`save_pretrained`), and give that directory as model.policy"
_SAVE_TOKENIZER = "save the tokenizer with it, and give its directory as data.tokenizer"
_KEPT = f"the tokenizer's own stays here, unless it is the same: else {_SAVE_TOKENIZER}"
_LOADED = "transformers' Auto classes find it by the model's own config"
_ADAPTERS = "the adapters here are PEFT's LoRA: leave it out, or train a PEFT model from Python"

_MODEL = (
    Field("base_model", Kind.WORD, here="model.policy"),
    Field("tokenizer_config", Kind.WORD, here="data.tokenizer"),
    Field("trust_remote_code", Kind.TRUTH, False, here="model.model_kwargs.trust_remote_code", harmless=(False,)),
    Field("model_revision", Kind.WORD, here="model.model_kwargs.revision"),
    Field("revision_of_model", Kind.WORD, here="model.model_kwargs.revision"),
    Field("model_kwargs", Kind.MAPPING, here="model.model_kwargs"),
    Field("overrides_of_model_kwargs", Kind.MAPPING, here="model.model_kwargs"),
    *unequal(_SAVE_MODEL, "base_model_config model_config overrides_of_model_config rope_scaling reinit_weights"),
    *unequal(_SAVE_MODEL, "resize_token_embeddings_to_32x mean_resizing_embeddings shrink_embeddings"),
    *unequal(_SAVE_MODEL, "fix_untrained_tokens scaling_softmax scaling_softmax_factor scaling_softmax_bias"),
    *unequal("its patched layers are not here: train another model", "llama4_linearized_experts use_onebitllms"),
    *unneeded(_LOADED, "model_type type_of_model cls_model_config tokenizer_type tokenizer_use_fast"),
    *unneeded(_LOADED, "is_falcon_derived_model is_llama_derived_model is_mistral_derived_model is_qwen_derived_model"),
    *unneeded("the Trainer places weights", "device device_map max_memory gpu_memory_limit low_cpu_mem_usage ddp"),
    *unneeded(
        "the Trainer places weights", "world_size local_rank experimental_skip_move_to_device embeddings_skip_upcast"
    ),
    *unneeded("kernels change speed, not results", "use_kernels experts_implementation fp32_norms fp32_norm_classes"),
    *unneeded("Export writes them", "tokenizer_save_jinja_files save_safetensors", "callback Export", (True,)),
    *unread("a number of classes is for classifiers", "num_labels"),
)

_TOKENIZER = (
    Field("special_tokens", Kind.MAPPING, here="data.tokenizer"),
    *unequal(_SAVE_TOKENIZER, "tokenizer_legacy tokenizer_use_mistral_common tokens added_tokens_overrides"),
    *unequal("text models are trained here: leave images out", "processor_type processor_kwargs image_size"),
    *unequal("text models are trained here: leave images out", "image_resize_algorithm freeze_mm_modules"),
)

_ADAPTER = (
    Field("adapter", Kind.WORD, here="model.lora, with qlora also model.quantization_config"),
    Field("lora_model_dir", Kind.WORD, here="model.policy, the adapter's directory"),
    Field("lora_r", Kind.WHOLE, here="model.lora.r"),
    Field("lora_alpha", Kind.NUMBER, here="model.lora.alpha"),
    Field(
        "lora_dropout",
        Kind.NUMBER,
        0.0,
        Fate.NO_EFFECT_THERE,
        "model.lora.dropout",
        "TRL's trainers switch every dropout off once adapters are there (`disable_dropout`)",
    ),
    Field("lora_target_modules", Kind.WORDS, here="model.lora.target_modules"),
    Field("lora_target_linear", Kind.TRUTH, here="model.lora.target_modules, as all-linear", harmless=(False,)),
    Field("lora_target_parameters", Kind.WORDS, here="model.lora.target_parameters"),
    Field("lora_modules_to_save", Kind.WORDS, here="model.lora.modules_to_save"),
    Field("peft_use_dora", Kind.TRUTH, here="model.lora.use_dora", harmless=(False,)),
    Field("peft_use_rslora", Kind.TRUTH, here="model.lora.use_rslora", harmless=(False,)),
    Field("peft_init_lora_weights", Kind.ANY, here="model.lora.init_lora_weights"),
    Field("peft_trainable_token_indices", Kind.ANY, here="model.lora.trainable_token_indices"),
    Field("peft_ensure_weight_tying", Kind.TRUTH, here="model.lora.ensure_weight_tying", harmless=(False,)),
    Field("load_in_8bit", Kind.TRUTH, False, here="model.quantization_config.load_in_8bit"),
    Field("load_in_4bit", Kind.TRUTH, False, here="model.quantization_config.load_in_4bit"),
    Field("bnb_config_kwargs", Kind.MAPPING, here="model.quantization_config"),
    *unequal(_ADAPTERS, "lora_fan_in_fan_out lora_rank_pattern lora_alpha_pattern peft_layers_to_transform peft"),
    *unequal(_ADAPTERS, "peft_layers_pattern peft_layer_replication relora relora_prune_ratio relora_cpu_offload"),
    *unequal(_ADAPTERS, "relora_prune_method jagged_restart_steps", ("magnitude",)),
    *unequal(_ADAPTERS, "jagged_restart_warmup_steps jagged_restart_anneal_steps loraplus_lr_ratio"),
    *unequal(_ADAPTERS, "loraplus_lr_embedding", (1e-6,)),
    *unequal(_ADAPTERS, "lisa_n_layers lisa_step_interval lisa_layers_attribute", ("model.layers",)),
    *unequal(
        "bitsandbytes' 4 and 8 bits are here: set load_in_4bit or load_in_8bit alone",
        "gptq model_quantization_config model_quantization_config_kwargs quantize_moe_experts qat quantization",
    ),
    *unequal("adapters or all weights are trained here: leave it out", "unfrozen_parameters"),
    *unneeded("adapters are float32 where the precision is mixed", "peft_autocast_adapter_dtype", "", (True,)),
    *unneeded("weights are read once, shard by shard", "qlora_sharded_model_loading lora_on_cpu merge_lora"),
    *unneeded("merging is `dpo-lightning export`", "merge_method", "", ("memory_efficient",)),
    *unneeded("kernels change speed, not results", "lora_mlp_kernel lora_qkv_kernel lora_o_kernel"),
    *unneeded("kernels change speed, not results", "lora_embedding_kernel fused_attn_kernel tiled_mlp"),
    *unneeded("kernels change speed, not results", "tiled_mlp_num_shards tiled_mlp_use_original_mlp", "", (True,)),
)

OF_SPECIAL_TOKENS = (
    *unneeded("padding is never scored", "pad_token"),
    *unneeded("an unknown word is what the tokenizer makes of it", "unk_token"),
    Field("bos_token", Kind.WORD, None, Fate.DIFFERS, "data.tokenizer", _KEPT),
    Field("eos_token", Kind.WORD, None, Fate.DIFFERS, "data.tokenizer", _KEPT),
    Field("additional_special_tokens", Kind.WORDS, None, Fate.REFUSED, "data.tokenizer", _SAVE_TOKENIZER),
)
"""Fields of `special_tokens`."""

OF_MODEL: tuple[Field, ...] = (*_MODEL, *_TOKENIZER, *_ADAPTER)
"""The fields of this file."""
