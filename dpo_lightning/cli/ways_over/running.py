"""How a run goes, from the fields of transformers' Trainer: its length, precision, validation, saving and logging."""

from __future__ import annotations

from typing import Any

from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.hub import pushed
from dpo_lightning.cli.ways_over.tree import From, Tree, made

OUTPUT = "trainer_output"  # where transformers writes without an output_dir


def length(draft: Draft) -> None:
    """Write how long the run is: a number of steps comes before one of epochs."""
    given = draft.given
    epochs = given["num_train_epochs"]
    if given["max_steps"] is not None and given["max_steps"] > 0:
        draft.put("trainer.max_steps", given.of("max_steps"))
        draft.put("trainer.max_epochs", From(-1, given.because("max_steps")))
        if given.says("num_train_epochs"):
            draft.nothing_there("num_train_epochs", "max_steps comes before it")
    elif not float(epochs).is_integer():
        draft.refuse("num_train_epochs", "a part of an epoch: give max_steps instead, or a whole number")
    else:
        draft.put("trainer.max_epochs", given.of("num_train_epochs", int))


def seeds(draft: Draft) -> None:
    """Write the seeds: of the process, and of the order of rows."""
    given = draft.given
    draft.put("seed_everything", given.of("seed"))
    draft.put("data.seed", given.of("data_seed" if given["data_seed"] is not None else "seed"))
    if given["full_determinism"]:
        draft.put("trainer.deterministic", given.of("full_determinism"))


_TRUE = {None: "{}-mixed", "float32": "{}-mixed", "auto": "{}-mixed", "bfloat16": "bf16-true", "float16": "16-true"}


def precision(draft: Draft, *, bf16: bool) -> None:
    """Write the precision: of the products, and of the weights that are trained.

    Args:
        draft: The config.
        bf16: Whether products are in bfloat16.
    """
    given = draft.given
    computes = "bf16" if bf16 else "16" if given["fp16"] else None
    if given["fp16"] and bf16:
        draft.refuse("fp16", "bf16 is on as well: take one of them")
        return
    weights = given["dtype"]
    names = ("dtype", "bf16", "fp16") if given["fp16"] else ("dtype", "bf16")
    if weights in ("bfloat16", "float16"):
        if computes not in (None, "bf16" if weights == "bfloat16" else "16"):
            draft.refuse("dtype", f"weights in {weights} under another autocast: take float32, or the same for both")
            return
        written = _TRUE[weights]
        if given["load_in_4bit"] or given["load_in_8bit"]:
            written = "bf16-mixed" if weights == "bfloat16" else "16-mixed"  # adapters are in float32 there
    else:
        written = "32-true" if computes is None else _TRUE[weights].format(computes)
    draft.put("trainer.precision", From(written, given.because(*names)))
    if given["use_cpu"]:
        draft.put("trainer.accelerator", From("cpu", given.because("use_cpu")))


def checkpointing(draft: Draft) -> None:
    """Write whether activations are computed again; `activation_checkpointing` is the newer name."""
    given = draft.given
    newer = given["activation_checkpointing"] is not None
    name = "activation_checkpointing" if newer else "gradient_checkpointing"
    if given["activation_offloading"]:
        draft.put("model.gradient_checkpointing", From("offload", given.because("activation_offloading")))
    else:
        draft.take("model.gradient_checkpointing", name)
    for each in ("activation_checkpointing_kwargs", "gradient_checkpointing_kwargs"):
        if given.asks(each):
            draft.nothing_here(each, "activations are always computed again without reentry; the numbers are the same")


def validates(draft: Draft) -> bool:
    """Tell whether the run has a validation."""
    return draft.given["eval_strategy"] not in (None, "no")


def validation(draft: Draft) -> None:
    """Write when the run validates; its steps are optimizer steps, and batches here."""
    given = draft.given
    if not validates(draft):
        for name in ("eval_steps", "eval_on_start"):
            if given.asks(name):
                draft.nothing_there(name, "eval_strategy is no: there is no validation")
        return
    if given.asks("eval_on_start"):
        draft.refuse("eval_on_start", "run `dpo-lightning validate --config run.yaml` before the fit")
    if given["eval_strategy"] == "epoch":
        draft.put("trainer.check_val_every_n_epoch", From(1, given.because("eval_strategy")))
        return
    name = "eval_steps" if given["eval_steps"] is not None else "logging_steps"
    every = _steps(draft, name)
    if every is not None:
        batches = every * given["gradient_accumulation_steps"]
        names = (name, "gradient_accumulation_steps")
        draft.put("trainer.val_check_interval", From(batches, f"batches: {given.because(*names)}"))
        draft.put("trainer.check_val_every_n_epoch", From(None, "the interval goes on over epochs, as there"))


def _steps(draft: Draft, name: str) -> int | None:
    """Return a number of optimizer steps; below 1 it is a share of the run there, which max_steps must tell."""
    given = draft.given
    value = given[name]
    if value >= 1:
        return int(value)
    if given["max_steps"] is None or given["max_steps"] <= 0:
        draft.refuse(name, "a share of the run: give a number of optimizer steps")
        return None
    return max(-(-int(value * given["max_steps"] * 1_000_000) // 1_000_000), 1)


def directory(draft: Draft) -> str:
    """Return the directory of the run."""
    return str(draft.given["output_dir"] or OUTPUT)


def saving(draft: Draft, *, export: bool = True) -> None:
    """Write the directory of the run, its checkpoints, and with `export` the model at its end."""
    given = draft.given
    draft.put("trainer.default_root_dir", From(directory(draft), given.because("output_dir")))
    strategy = given["save_strategy"]
    if strategy in ("steps", "epoch"):
        _checkpoints(draft, given["save_strategy"])
    elif strategy == "best":
        draft.callback(_best(draft))
    else:
        draft.put("trainer.enable_checkpointing", From(False, given.because("save_strategy")))
    best = bool(given["load_best_model_at_end"])
    if best and strategy != "best":
        draft.callback(_best(draft))
    if export:
        arguments: dict[str, Tree] = {"path": From(f"{directory(draft)}/model", given.because("output_dir"))}
        if best:
            arguments["best"] = given.of("load_best_model_at_end")
        draft.callback(made("Export", "the model at the end", **arguments, **pushed(draft, directory(draft))))


def _checkpoints(draft: Draft, strategy: str) -> None:
    given = draft.given
    where = From(f"{directory(draft)}/checkpoints", given.because("output_dir"))
    arguments: dict[str, Tree] = {"dirpath": where}
    if strategy == "steps" and 0 < given["save_steps"] < 1 and (given["max_steps"] or 0) <= 0:
        draft.differs("save_steps", "a share of the run there; here at the end of each epoch: set every_n_train_steps")
    elif strategy == "steps":
        arguments["every_n_train_steps"] = From(_steps(draft, "save_steps"), given.because("save_steps"))
    if given["save_only_model"]:
        kept = given["save_total_limit"] or -1
        arguments |= {
            "save_weights_only": given.of("save_only_model"),
            "save_top_k": From(kept, given.because("save_total_limit")),
        }
        draft.callback(made("ModelCheckpoint", given.because("save_strategy"), **arguments))
        return
    if given["save_total_limit"]:
        arguments["keep"] = given.of("save_total_limit")
    else:
        arguments["keep"] = From(2, "there all are kept; a run goes on from the last one")
    draft.callback(made("ResumableCheckpoint", given.because("save_strategy"), **arguments))


def _best(draft: Draft) -> Tree:
    """Return the callback that keeps the best checkpoint, by the metric of the same name here."""
    given = draft.given
    name = str(given["metric_for_best_model"] or "loss").removeprefix("eval_")
    greater = given["greater_is_better"]
    if greater is None:
        greater = not name.endswith("loss")
    return made(
        "ModelCheckpoint",
        given.because("save_strategy", "load_best_model_at_end"),
        dirpath=From(f"{directory(draft)}/best", given.because("output_dir")),
        monitor=From(f"val/{name}", given.because("metric_for_best_model")),
        mode=From("max" if greater else "min", given.because("greater_is_better")),
        save_weights_only=From(True, "ResumableCheckpoint has what a run goes on from"),
    )


LOGGERS = {
    "tensorboard": "TensorBoardLogger",
    "wandb": "WandbLogger",
    "mlflow": "MLFlowLogger",
    "comet_ml": "CometLogger",
}
"""Services of `report_to` with a logger of Lightning."""


def logging(draft: Draft) -> None:
    """Write what is logged, how often, and where to; a CSV file always, of which the report of a run is made."""
    given = draft.given
    if given["logging_strategy"] in ("no", "epoch"):
        draft.refuse("logging_strategy", "here every n optimizer steps: take steps, and a number as logging_steps")
    else:
        every = _steps(draft, "logging_steps")
        draft.put("trainer.log_every_n_steps", From(every, given.because("logging_steps")))
    if given.asks("logging_first_step"):
        draft.differs("logging_first_step", "the first step is logged only where logging_steps is 1")
    services = given["report_to"] or []
    asked = [name for name in ([services] if isinstance(services, str) else services) if name != "none"]
    unknown = [name for name in asked if name not in LOGGERS]
    if unknown:
        draft.refuse("report_to", f"no logger for {', '.join(unknown)}; there are {', '.join(LOGGERS)}")
        return
    loggers: list[Any] = [made("CSVLogger", "always, for the report", save_dir=From(directory(draft), "output_dir"))]
    loggers += [made(LOGGERS[name], given.because("report_to"), **_of_logger(draft, name)) for name in asked]
    draft.put("trainer.logger", loggers)
    if given.asks("run_name") and not {"wandb", "mlflow", "comet_ml"} & {*asked}:
        draft.nothing_there("run_name", "it is for services, and report_to names none that reads it")


def _of_logger(draft: Draft, name: str) -> dict[str, Tree]:
    given = draft.given
    named = {} if given["run_name"] is None else {"name": given.of("run_name")}
    where: dict[str, Tree] = {"save_dir": From(directory(draft), given.because("output_dir"))}
    if name == "tensorboard":
        return where
    if name == "mlflow":
        return {"run_name": given.of("run_name")} if named else {}
    return {**named, **where} if name == "wandb" else dict(named)


_DDP = {
    "ddp_find_unused_parameters": "find_unused_parameters",
    "ddp_bucket_cap_mb": "bucket_cap_mb",
    "ddp_broadcast_buffers": "broadcast_buffers",
    "ddp_static_graph": "static_graph",
    "ddp_backend": "process_group_backend",
}
_SHARDED = "merge configs/hardware/fsdp2.yaml with the config instead; docs/several-gpus.md"


def strategy(draft: Draft) -> None:
    """Write the strategy where a field asks for one; how many devices there are is the launcher's there."""
    given = draft.given
    for name in ("fsdp", "fsdp_config", "deepspeed", "parallelism_config"):
        if given[name]:
            draft.refuse(name, _SHARDED)
    arguments: dict[str, Tree] = {ours: given.of(name) for name, ours in _DDP.items() if given.asks(name)}
    if given.asks("ddp_timeout"):
        seconds = int(given["ddp_timeout"])
        written = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        arguments["timeout"] = From(written, given.because("ddp_timeout"))
    if arguments:
        draft.put("trainer.strategy", made("DDPStrategy", given.because(*_asked(draft)), **arguments))


def _asked(draft: Draft) -> list[str]:
    return [name for name in (*_DDP, "ddp_timeout") if draft.given.asks(name)]
