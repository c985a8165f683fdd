"""The fields of transformers' TrainingArguments on what a run writes and measures, with TRL's defaults."""

from __future__ import annotations

from dpo_lightning.cli.ways_over.fields import Kind, idle, idle_there, refused, together

_LOG = "Lightning's messages are those of Python's logging"
_METRICS = "the validation's metrics are means, taken on the device"
_WORDS = ("no", "steps", "epoch")

LOGGING = (
    together("logging_strategy", Kind.WORD, "steps", "trainer.log_every_n_steps", "only steps", choices=_WORDS),
    together("logging_steps", Kind.NUMBER, 10, "trainer.log_every_n_steps"),
    together("logging_first_step", Kind.TRUTH, False, "", "the first step is logged only where logging_steps is 1"),
    idle("log_on_each_node", Kind.TRUTH, True, "one process logs"),
    idle("logging_nan_inf_filter", Kind.TRUTH, True, "a loss that is not finite ends the run, and is not hidden"),
    idle("include_num_input_tokens_seen", Kind.ANY, "no", "tokens a second are always logged", harmless=(False,)),
    idle("log_level", Kind.WORD, "passive", _LOG),
    idle("log_level_replica", Kind.WORD, "warning", _LOG),
    idle("disable_tqdm", Kind.TRUTH, None, "the progress is a line, or trainer.enable_progress_bar"),
    together("report_to", Kind.WORDS, "none", "trainer.logger"),
    together("run_name", Kind.WORD, None, "trainer.logger, as the name of WandbLogger"),
    idle_there("project", Kind.WORD, "huggingface", "only trackio reads it"),
    refused("trackio_space_id", Kind.WORD, None, "there is no logger for trackio: take another report_to"),
    refused("trackio_bucket_id", Kind.WORD, None, "there is no logger for trackio: take another report_to"),
    idle("trackio_static_space_id", Kind.ANY, None, "there is no logger for trackio"),
)
"""Fields of logging."""

EVALUATING = (
    together("eval_strategy", Kind.WORD, "no", "trainer.val_check_interval", choices=_WORDS),
    together(
        "eval_steps",
        Kind.NUMBER,
        None,
        "trainer.val_check_interval",
        "optimizer steps there; batches here: times gradient_accumulation_steps",
    ),
    refused("eval_delay", Kind.NUMBER, 0, "validation begins with the run: leave it out"),
    together("per_device_eval_batch_size", Kind.WHOLE, 8, "data.eval_batch_pairs"),
    idle("prediction_loss_only", Kind.TRUTH, False, _METRICS),
    refused("eval_on_start", Kind.TRUTH, False, "run `dpo-lightning validate` before the fit", tells=False),
    idle("eval_do_concat_batches", Kind.TRUTH, True, _METRICS),
    idle("eval_use_gather_object", Kind.TRUTH, False, _METRICS),
    idle("eval_accumulation_steps", Kind.WHOLE, None, _METRICS),
    idle("include_for_metrics", Kind.ANY, [], _METRICS),
    idle("batch_eval_metrics", Kind.TRUTH, False, _METRICS),
    idle_there("do_train", Kind.TRUTH, False, "the script trains whatever it says", harmless=(True,)),
    idle_there("do_eval", Kind.TRUTH, False, "eval_strategy decides", harmless=(True,)),
    idle_there("do_predict", Kind.TRUTH, False, "the script predicts nothing: dpo-lightning predict does"),
)
"""Fields of validation and its times."""

SAVING = (
    together(
        "output_dir",
        Kind.WORD,
        None,
        "trainer.default_root_dir",
        "checkpoints are in its checkpoints, the model of Export in its model",
    ),
    together("save_only_model", Kind.TRUTH, False, "trainer.callbacks, as ModelCheckpoint with save_weights_only"),
    together(
        "save_strategy",
        Kind.WORD,
        "steps",
        "trainer.callbacks, as ResumableCheckpoint",
        choices=(*_WORDS, "best"),
    ),
    together(
        "save_steps",
        Kind.NUMBER,
        500,
        "trainer.callbacks, as ResumableCheckpoint with its every_n_train_steps",
        "a share of the run needs max_steps; without, saved at the end of each epoch",
    ),
    idle("save_on_each_node", Kind.TRUTH, False, "one process saves"),
    together(
        "save_total_limit",
        Kind.WHOLE,
        None,
        "trainer.callbacks, as ResumableCheckpoint with its keep",
        "without it all are kept there, and the last 2 here",
    ),
    idle("enable_jit_checkpoint", Kind.TRUTH, False, "a run that is told to stop always saves"),
    together("load_best_model_at_end", Kind.TRUTH, False, "trainer.callbacks, as Export with best: true"),
    together("metric_for_best_model", Kind.WORD, None, "trainer.callbacks, as ModelCheckpoint with its monitor"),
    together("greater_is_better", Kind.TRUTH, None, "trainer.callbacks, as ModelCheckpoint with its mode"),
    idle("ignore_data_skip", Kind.TRUTH, False, "a run always goes on at its very batch"),
    idle("restore_callback_states_from_checkpoint", Kind.TRUTH, False, "callbacks always go on"),
    refused(
        "resume_from_checkpoint",
        Kind.ANY,
        None,
        "their checkpoints are not ours; `fit --ckpt_path last` goes on from ours",
        here="ckpt_path",
    ),
)
"""Fields of checkpoints, and of runs that go on."""

HUB = (
    together("push_to_hub", Kind.TRUTH, False, "trainer.callbacks, as Export with its push_to"),
    refused("hub_token", Kind.WORD, None, "a config holds no secrets: set HF_TOKEN in the environment", tells=False),
    together("hub_private_repo", Kind.TRUTH, None, "trainer.callbacks, as Export with private"),
    together("hub_model_id", Kind.WORD, None, "trainer.callbacks, as Export with its push_to"),
    together("hub_strategy", Kind.WORD, "every_save", "", "pushed once, when the fit ends"),
    together("hub_always_push", Kind.TRUTH, False, "", "pushed once, when the fit ends"),
    together("hub_revision", Kind.WORD, None, "trainer.callbacks, as Export with its revision"),
)
"""Pushing to the hub."""
