"""All fields of LLaMA-Factory 0.9.6.dev0 that a config may have: its own, and those of transformers' Trainer."""

from __future__ import annotations

from dpo_lightning.cli.ways_over.fields import Kind, by_name, idle_there, together
from dpo_lightning.cli.ways_over.llamafactory.of_method import OF_METHOD
from dpo_lightning.cli.ways_over.llamafactory.of_model import OF_MODEL
from dpo_lightning.cli.ways_over.saving_fields import EVALUATING, HUB, LOGGING, SAVING
from dpo_lightning.cli.ways_over.training_fields import DEVICES, LOADING, STEP, with_defaults

_DEFAULTS = {
    "bf16": False,
    "gradient_checkpointing": False,
    "learning_rate": 5e-5,
    "logging_steps": 500,
    "num_train_epochs": 3.0,
    "report_to": ["none"],
}
_OWN = {each.name for each in (*OF_MODEL, *OF_METHOD)}

OF_TRAINER = tuple(
    each
    for each in with_defaults([*STEP, *LOADING, *DEVICES, *LOGGING, *EVALUATING, *SAVING, *HUB], _DEFAULTS)
    if each.name not in _OWN
)
"""Fields of transformers' TrainingArguments, with its own defaults."""

_SORTED = "read where text is generated, which stage: dpo and kto do not"
OF_SEQ2SEQ = (
    together("warmup_ratio", Kind.NUMBER, None, "model.schedule.warmup"),
    idle_there("predict_with_generate", Kind.TRUTH, False, _SORTED),
    idle_there("generation_max_length", Kind.WHOLE, None, _SORTED),
    idle_there("generation_num_beams", Kind.WHOLE, None, _SORTED),
    idle_there("generation_config", Kind.ANY, None, _SORTED),
    idle_there("sortish_sampler", Kind.TRUTH, False, "read by sequence-to-sequence models alone"),
)
"""Fields of Seq2SeqTrainingArguments, and an earlier one."""

CLASSES = {
    "model_args and data_args": OF_MODEL,
    "finetuning_args, training_args and generating_args": OF_METHOD,
    "transformers": (*OF_TRAINER, *OF_SEQ2SEQ),
}
"""Fields by where they come from."""

FIELDS = by_name(*CLASSES.values())
"""Fields that a config may have, by name."""
