"""How a LLaMA-Factory config runs, beside what transformers' Trainer reads."""

from __future__ import annotations

from dpo_lightning.cli.ways_over import optimizer
from dpo_lightning.cli.ways_over import running as shared
from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.tree import From, made


def schedule(draft: Draft) -> None:
    """Write the schedule; `warmup_ratio` counts where `warmup_steps` asks for nothing."""
    given = draft.given
    if given["warmup_ratio"] and not given.asks("warmup_steps"):
        optimizer.schedule(draft, From(float(given["warmup_ratio"]), given.because("warmup_ratio")))
    else:
        optimizer.schedule(draft)


def saving(draft: Draft) -> None:
    """Write checkpoints and the model, and the callback that stops early."""
    given = draft.given
    shared.saving(draft)
    if not given["early_stopping_steps"]:
        return
    name = str(given["metric_for_best_model"] or "loss").removeprefix("eval_")
    greater = given["greater_is_better"]
    mode = "max" if (greater if greater is not None else not name.endswith("loss")) else "min"
    monitor = From(f"val/{name}", given.because("metric_for_best_model"))
    patience = given.of("early_stopping_steps")
    draft.callback(made("EarlyStopping", "", monitor=monitor, mode=From(mode, ""), patience=patience))


def logging(draft: Draft) -> None:
    """Write the logs, and the picture of the curves."""
    shared.logging(draft)
    if draft.given["plot_loss"]:
        where = From(f"{shared.directory(draft)}/curves.png", draft.given.because("output_dir"))
        draft.tree["trainer"]["logger"].append(made("PlotLogger", draft.given.because("plot_loss"), path=where))
