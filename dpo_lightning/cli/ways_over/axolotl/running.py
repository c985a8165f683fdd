"""How an axolotl config runs: its rate, validation, checkpoints and logs."""

from __future__ import annotations

from dpo_lightning.cli.ways_over import optimizer
from dpo_lightning.cli.ways_over.axolotl.of_run import PLUGINS
from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.hub import repository
from dpo_lightning.cli.ways_over.running import directory
from dpo_lightning.cli.ways_over.tree import From, Tree, made

_CUSTOM = "AdamW and its kind are here: take one of those, or give model.optimizer the class_path of a torch optimizer"
_SHARE = "a part of the run: give a number of optimizer steps, or the number of times an epoch"
_SCHEDULES = (
    "linear",
    "cosine",
    "constant",
    "constant_with_warmup",
    "polynomial",
    "cosine_with_restarts",
    "inverse_sqrt",
)
_LOGGERS = {
    "use_tensorboard": "TensorBoardLogger",
    "use_mlflow": "MLFlowLogger",
    "use_comet": "CometLogger",
}


def plugins(draft: Draft) -> None:
    """Refuse plugins that change what is trained."""
    other = [name for name in draft.given["plugins"] if name not in PLUGINS]
    if other:
        draft.refuse("plugins", f"{', '.join(other)}: a trainer of your own is a subclass of PreferenceModule here")
    elif draft.given["plugins"]:
        draft.nothing_here("plugins", "kernels and a logger, without which the numbers are the same")


def optimizing(draft: Draft) -> None:
    """Write the optimizer."""
    if draft.given["learning_rate"] is None:
        draft.refuse("learning_rate", "there is no default in axolotl: give a number")
    if draft.given["optimizer"] not in optimizer.OPTIMIZERS:
        draft.refuse("optimizer", _CUSTOM)
        return
    optimizer.optimizer(draft)


def schedule(draft: Draft) -> None:
    """Write the schedule; without a warm-up axolotl takes 3 % of the run, of at most 100 steps."""
    given = draft.given
    if given["lr_scheduler"] not in _SCHEDULES:
        draft.refuse("lr_scheduler", f"{', '.join(_SCHEDULES)} are here: take one of them")
        return
    if given["warmup_steps"] is not None:
        warmup = given.of("warmup_steps", optimizer.steps_or_share)
        if given.asks("warmup_ratio"):
            draft.nothing_there("warmup_ratio", "warmup_steps comes before it")
    elif given["warmup_ratio"] is not None:
        warmup = given.of("warmup_ratio", float)
    else:
        warmup = From(0.03, "without warmup_steps there, of at most 100 steps")
        draft.differs("warmup_ratio", "3 % of the run without it, and there of at most 100 steps")
    if given["cosine_min_lr_ratio"] and given["lr_scheduler"] == "cosine":
        draft.put("model.schedule", _with_floor(draft, warmup))
    else:
        optimizer.schedule(draft, warmup)


def _with_floor(draft: Draft, warmup: From) -> Tree:
    name = From("cosine_with_min_lr", draft.given.because("lr_scheduler"))
    settings: dict[str, Tree] = {"min_lr_rate": draft.given.of("cosine_min_lr_ratio")}
    return made("TransformersSchedule", "step by step as there", name=name, warmup=warmup, settings=settings)


def validation(draft: Draft) -> None:
    """Write when the run validates."""
    given = draft.given
    asked = [
        name for name in ("evals_per_epoch", "eval_steps", "eval_strategy", "evaluation_strategy") if given.asks(name)
    ]
    if not draft.has("data.val_split"):
        for name in asked:
            draft.nothing_there(name, "there is no validation: val_set_size is 0, and no test_datasets")
        return
    if given["eval_batch_size"]:
        draft.take("data.eval_batch_pairs", "eval_batch_size")
    if given["evals_per_epoch"]:
        every = 1 / given["evals_per_epoch"]
        draft.put("trainer.val_check_interval", From(round(every, 6), given.because("evals_per_epoch")))
    elif given["eval_steps"] and given["eval_steps"] < 1:
        draft.refuse("eval_steps", _SHARE)
    elif given["eval_steps"]:
        batches = int(given["eval_steps"] * given["gradient_accumulation_steps"])
        said = given.because("eval_steps", "gradient_accumulation_steps")
        draft.put("trainer.val_check_interval", From(batches, f"batches: {said}"))
        draft.put("trainer.check_val_every_n_epoch", From(None, "the interval goes on over epochs, as there"))
    elif "no" in (given["eval_strategy"], given["evaluation_strategy"]):
        draft.put("trainer.limit_val_batches", From(0, given.because(*asked)))


def saving(draft: Draft) -> None:
    """Write where checkpoints go and when, and the model at the end."""
    given = draft.given
    strategy = given["save_strategy"]
    draft.put("trainer.default_root_dir", given.of("output_dir"))
    if strategy == "no" and not given["save_steps"]:
        draft.put("trainer.enable_checkpointing", From(False, given.because("save_strategy")))
    else:
        _checkpoints(draft)
    where = From(f"{directory(draft)}/model", given.because("output_dir"))
    draft.callback(made("Export", "the model at the end", path=where, **_pushed(draft)))
    if given["early_stopping_patience"]:
        monitor = str(given["metric_for_best_model"] or "loss").removeprefix("eval_")
        greater = given["greater_is_better"]
        mode = "max" if (greater if greater is not None else not monitor.endswith("loss")) else "min"
        stop = made(
            "EarlyStopping",
            "",
            monitor=From(f"val/{monitor}", given.because("metric_for_best_model")),
            mode=From(mode, given.because("greater_is_better")),
            patience=given.of("early_stopping_patience"),
        )
        draft.callback(stop)


def _pushed(draft: Draft) -> dict[str, Tree]:
    """Return the arguments of `Export` that push, which the name of a repository alone asks for."""
    if draft.given["hub_model_id"]:
        private = From(True, "a repository that axolotl makes is private")
        return {**repository(draft, "hub_model_id", ""), "private": private}
    for name in (name for name in ("hub_strategy", "hub_revision") if draft.given.asks(name)):
        draft.nothing_there(name, "hub_model_id is not set: nothing is pushed")
    return {}


def _checkpoints(draft: Draft) -> None:
    given = draft.given
    arguments: dict[str, Tree] = {"dirpath": From(f"{directory(draft)}/checkpoints", given.because("output_dir"))}
    if given["save_steps"] and given["save_steps"] < 1:
        draft.refuse("save_steps", _SHARE)
    elif given["save_steps"]:
        arguments["every_n_train_steps"] = given.of("save_steps", int)
    elif given["saves_per_epoch"] and given["saves_per_epoch"] > 1:
        said = "several times an epoch there; here at its end: set every_n_train_steps of ResumableCheckpoint"
        draft.differs("saves_per_epoch", said)
    arguments["keep"] = From(given["save_total_limit"] or 4, given.because("save_total_limit"))
    draft.callback(made("ResumableCheckpoint", "", **arguments))


def logging(draft: Draft) -> None:
    """Write where the run is logged; a CSV file always, of which its report is made."""
    given = draft.given
    if given["logging_steps"] and given["logging_steps"] >= 1:
        draft.put("trainer.log_every_n_steps", given.of("logging_steps", int))
    elif given.asks("logging_steps"):
        draft.refuse("logging_steps", _SHARE)
    where = From(directory(draft), given.because("output_dir"))
    loggers: list[Tree] = [made("CSVLogger", "always, for the report", save_dir=where)]
    if given["wandb_project"] or given["use_wandb"]:
        loggers.append(made("WandbLogger", "", **_wandb(draft), save_dir=where))
    loggers += [made(ours, given.because(name)) for name, ours in _LOGGERS.items() if given[name]]
    draft.put("trainer.logger", loggers)
    if given["generate_samples"]:
        arguments = {
            "path": From(f"{directory(draft)}/samples.md", given.because("output_dir")),
            "prompts": given.of("num_generation_samples"),
            "max_new_tokens": given.of("generation_max_new_tokens"),
        }
        draft.callback(made("SampleTable", given.because("generate_samples"), **arguments))


def _wandb(draft: Draft) -> dict[str, Tree]:
    names = {"wandb_project": "project", "wandb_name": "name", "wandb_entity": "entity"}
    return {ours: draft.given.of(name) for name, ours in names.items() if draft.given[name]}
