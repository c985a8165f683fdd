"""All fields of TRL 1.16.0 that a DPO config may have, by the class that has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dpo_lightning.cli.ways_over.fields import Field, Kind, by_name, idle, idle_there, key, refused, together
from dpo_lightning.cli.ways_over.saving_fields import EVALUATING, HUB, LOGGING, SAVING
from dpo_lightning.cli.ways_over.training_fields import DEVICES, LOADING, STEP

_TOKENS = "a scored token counts as one, and a batch needs no padding in the tree layout"

OBJECTIVE = (
    together("loss_type", Kind.WORDS, ["sigmoid"], "model.objective"),
    together("loss_weights", Kind.NUMBERS, None, "model.objective, as Weighted with its weights"),
    together("beta", Kind.NUMBER, 0.1, "model.objective.beta", "IPO's is its tau; sft reads none"),
    together(
        "label_smoothing",
        Kind.NUMBER,
        0.0,
        "model.objective.label_smoothing",
        "only robust, exo_pair, aot and aot_unpaired read it there",
    ),
    together("ld_alpha", Kind.NUMBER, None, "model.objective, as LDDPO with its alpha"),
    together(
        "f_divergence_type",
        Kind.WORD,
        "reverse_kl",
        "model.objective, as FDivergence",
        choices=("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"),
    ),
    together(
        "f_alpha_divergence_coef",
        Kind.NUMBER,
        0.5,
        "model.objective, as AlphaDivergence with its alpha",
        "alpha is 1 minus it, the paper's",
    ),
    together("use_weighting", Kind.TRUTH, False, "model.objective, as WPO"),
    together("discopop_tau", Kind.NUMBER, 0.05, "model.objective, as DiscoPOP with its tau"),
    together("sync_ref_model", Kind.TRUTH, False, "trainer.callbacks, as TrustRegionReference"),
    together("ref_model_mixup_alpha", Kind.NUMBER, 0.6, "trainer.callbacks, as TrustRegionReference with its alpha"),
    together("ref_model_sync_steps", Kind.WHOLE, 512, "trainer.callbacks, as TrustRegionReference with its every"),
    together("precompute_ref_log_probs", Kind.TRUTH, False, "model.reference, as Precomputed"),
    idle("precompute_ref_batch_size", Kind.WHOLE, None, "Precomputed takes as many pairs as its batch_tokens hold"),
)
"""Fields of the objective and its reference."""

OF_DPO = (
    together("model_init_kwargs", Kind.MAPPING, None, "model.model_kwargs"),
    together("trust_remote_code", Kind.TRUTH, False, "model.model_kwargs"),
    key("router_aux_loss_coef", Kind.NUMBER, None, "model.router_aux_loss_coef"),
    together("disable_dropout", Kind.TRUTH, True, "model.dropout, inverted", "also the dropout of adapters"),
    key("dataset_num_proc", Kind.WHOLE, None, "data.num_proc"),
    together(
        "max_length",
        Kind.WHOLE,
        1024,
        "data.max_length",
        "null, for no limit, is refused: memory is planned",
        null=True,
    ),
    idle("truncation_mode", Kind.WORD, "keep_start", "completions keep their start", tells=False),
    idle_there(
        "padding_free", Kind.TRUTH, False, "TRL has switched it off; nothing is padded here", here="data.layout"
    ),
    idle("pad_to_multiple_of", Kind.ANY, "auto", _TOKENS),
    together("activation_offloading", Kind.TRUTH, False, "model.gradient_checkpointing, as offload"),
    idle("pad_token", Kind.WORD, None, "no token is needed for padding"),
)
"""Further fields of its own."""

MODEL = (
    together("model_name_or_path", Kind.WORD, None, "model.policy"),
    together("model_revision", Kind.WORD, "main", "model.model_kwargs, as revision"),
    together(
        "dtype",
        Kind.WORD,
        "float32",
        "trainer.precision",
        "weights in bfloat16 are bf16-true; null and auto are taken as float32",
        choices=("float32", "bfloat16", "float16", "auto"),
        null=True,
    ),
    together("attn_implementation", Kind.WORD, None, "model.model_kwargs, as attn_implementation"),
    together("use_peft", Kind.TRUTH, False, "model.lora"),
    together("lora_r", Kind.WHOLE, 16, "model.lora.r"),
    together("lora_alpha", Kind.NUMBER, 32, "model.lora.alpha"),
    together(
        "lora_dropout",
        Kind.NUMBER,
        0.05,
        "model.lora.dropout",
        "disable_dropout, on by default, switches it off there: it is 0 unless that is false",
    ),
    together(
        "lora_target_modules",
        Kind.WORDS,
        None,
        "model.lora.target_modules",
        "without it peft takes its own choice for the architecture, q_proj and v_proj for most",
    ),
    together("lora_target_parameters", Kind.WORDS, None, "model.lora.target_parameters"),
    together("lora_modules_to_save", Kind.WORDS, None, "model.lora.modules_to_save"),
    refused("lora_task_type", Kind.WORD, "CAUSAL_LM", "a policy is a causal model: leave it out"),
    together("use_rslora", Kind.TRUTH, False, "model.lora.use_rslora"),
    together("use_dora", Kind.TRUTH, False, "model.lora.use_dora"),
    together("load_in_8bit", Kind.TRUTH, False, "model.quantization_config"),
    together("load_in_4bit", Kind.TRUTH, False, "model.quantization_config"),
    together("bnb_4bit_quant_type", Kind.WORD, "nf4", "model.quantization_config"),
    together("use_bnb_nested_quant", Kind.TRUTH, False, "model.quantization_config, as bnb_4bit_use_double_quant"),
    together("bnb_4bit_quant_storage", Kind.WORD, None, "model.quantization_config"),
)
"""The model and its adapters."""

SCRIPT = (
    together("dataset_name", Kind.WORD, None, "data.dataset"),
    together("dataset_config", Kind.WORD, None, "data.load_options, as name"),
    together("dataset_train_split", Kind.WORD, "train", "data.train_split"),
    together("dataset_test_split", Kind.WORD, "test", "data.val_split", "read where eval_strategy is not no"),
    together("dataset_streaming", Kind.TRUTH, False, "data.streaming"),
    idle("ignore_bias_buffers", Kind.TRUTH, False, "buffers of masks are no part of a policy here"),
)
"""The data of the script."""

MIXTURE = (
    together("datasets", Kind.ANY, [], "data.sources"),
    together("streaming", Kind.TRUTH, False, "data.streaming"),
    together(
        "test_split_size",
        Kind.NUMBER,
        None,
        "data.val_split",
        "a number of rows, drawn at random there, is the first ones here",
    ),
)
"""Several sets of data."""

OF_A_SET = (
    together("path", Kind.WORD, None, "data.sources.dataset"),
    together("name", Kind.WORD, None, "data.sources.load_options, as name"),
    together("data_dir", Kind.WORD, None, "data.sources.load_options, as data_dir"),
    together("data_files", Kind.ANY, None, "data.sources.dataset"),
    together("split", Kind.WORD, "train", "data.sources.split"),
    idle("columns", Kind.WORDS, None, "formats know their columns", tells=False),
    together(
        "fraction",
        Kind.NUMBER,
        None,
        "data.sources.weight",
        "first rows there; here every row in turn, in the same shares, and as many rows as all sets have",
    ),
)
"""A set of several."""

CLASSES: Mapping[str, Sequence[Field]] = {
    "DPOConfig": (*STEP, *OBJECTIVE, *OF_DPO, *LOADING, *DEVICES, *LOGGING, *EVALUATING, *SAVING, *HUB),
    "ModelConfig": MODEL,
    "ScriptArguments": SCRIPT,
    "DatasetMixtureConfig": MIXTURE,
    "DatasetConfig": OF_A_SET,
}
"""Fields by TRL's classes, of which the first four make up a config, and the last a set of `datasets`."""

EARLIER = (
    key("max_prompt_length", Kind.WHOLE, None, "data.max_prompt_length"),
    together("warmup_ratio", Kind.NUMBER, None, "model.schedule.warmup"),
    together("rpo_alpha", Kind.NUMBER, None, "model.objective, as Weighted with SFT", "a mean over pairs, not tokens"),
    together("dataset_splits", Kind.WORDS, None, "data.train_split, data.val_split"),
    together("chat_template", Kind.WORD, None, "data.chat_template"),
    idle("max_completion_length", Kind.WHOLE, None, "max_length cuts prompt and completion together"),
    idle("overwrite_output_dir", Kind.TRUTH, False, "a run never writes over another one"),
    idle(
        "generate_during_eval",
        Kind.TRUTH,
        False,
        "add SampleTable for samples",
        here="trainer.callbacks, as SampleTable",
    ),
    idle("save_safetensors", Kind.TRUTH, True, "models are always safetensors"),
    idle("logging_dir", Kind.WORD, None, "loggers write below output_dir"),
    idle(
        "precompute_ref_eval_batch_size", Kind.WHOLE, None, "Precomputed takes as many pairs as its batch_tokens hold"
    ),
    idle("label_pad_token_id", Kind.WHOLE, None, "labels need no padding"),
    idle("padding_value", Kind.WHOLE, None, "no token is needed for padding"),
    idle("use_logits_to_keep", Kind.TRUTH, False, "the head always runs on scored tokens alone"),
    idle("tools", Kind.ANY, None, "the rows say which tools there are"),
    refused("reference_free", Kind.TRUTH, False, "take an objective without a reference, such as SimPO or CPO"),
    refused("ref_model_name_or_path", Kind.WORD, None, "give FrozenCopy its checkpoint", here="model.reference"),
    refused("force_use_ref_model", Kind.TRUTH, False, "set model.reference to FrozenCopy"),
    refused("model_adapter_name", Kind.WORD, None, "adapters of a policy are known by the policy's path"),
    refused("ref_adapter_name", Kind.WORD, None, "set model.reference to FrozenAdapter or FrozenCopy"),
    refused("env", Kind.MAPPING, None, "set variables of the environment in the shell"),
)
"""Fields of earlier versions and of the alignment handbook, which its recipes still have."""

FIELDS = by_name(*(fields for name, fields in CLASSES.items() if name != "DatasetConfig"), EARLIER)
"""What a config may have, by name."""
