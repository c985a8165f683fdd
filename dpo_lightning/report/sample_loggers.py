"""Samples in a run's loggers: as a text, or as a table, by what the logger can take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dpo_lightning.report.samples import SampledPrompt, markdown, table

NAME = "samples"
"""Name of the text or table."""


def log_samples(logger: Any, rows: Sequence[SampledPrompt], step: int) -> bool:
    """Give the samples of a step to a logger, on rank 0; return whether it takes any.

    Whatever the logger raises, the caller gets.

    Args:
        logger: A logger of Lightning.
        rows: The samples.
        step: Optimizer step.
    """
    return any(log(logger, rows, step) for log in (log_own_table, log_text, log_client_table, log_named_text))


def log_own_table(logger: Any, rows: Sequence[SampledPrompt], step: int) -> bool:
    """Log a table where the logger itself takes one, as `WandbLogger` does: `log_table(key, columns, data, step)`."""
    if not callable(getattr(logger, "log_table", None)):
        return False
    columns = table(rows, step)
    logger.log_table(NAME, columns=list(columns), data=_lines(columns), step=step)
    return True


def log_text(logger: Any, rows: Sequence[SampledPrompt], step: int) -> bool:
    """Log Markdown where the experiment takes it, as TensorBoard's writer does: `add_text(tag, text, global_step)`."""
    experiment = _experiment(logger)
    if not callable(getattr(experiment, "add_text", None)):
        return False
    experiment.add_text(NAME, markdown(rows, f"Samples at step {step}"), global_step=step)
    return True


def log_client_table(logger: Any, rows: Sequence[SampledPrompt], step: int) -> bool:
    """Add to a table of the run where the experiment is a client of many, as MLflow's: `log_table(run_id, ...)`."""
    experiment, run = _experiment(logger), getattr(logger, "run_id", None)
    if run is None or not callable(getattr(experiment, "log_table", None)):
        return False
    experiment.log_table(run, data=table(rows, step), artifact_file=f"{NAME}.json")
    return True


def log_named_text(logger: Any, rows: Sequence[SampledPrompt], step: int) -> bool:
    """Log Markdown where the experiment takes a text and a step, as Comet's does: `log_text(text, step)`."""
    experiment = _experiment(logger)
    if getattr(logger, "run_id", None) is not None or not callable(getattr(experiment, "log_text", None)):
        return False
    experiment.log_text(markdown(rows, f"Samples at step {step}"), step=step)
    return True


def _experiment(logger: Any) -> Any:
    return getattr(logger, "experiment", None)


def _lines(columns: Mapping[str, list[Any]]) -> list[list[Any]]:
    return [list(line) for line in zip(*columns.values(), strict=True)]
