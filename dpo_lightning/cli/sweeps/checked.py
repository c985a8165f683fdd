"""A run of a sweep, checked as a fit checks it: parsed and built, but for weights and rows."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml  # type: ignore[import-untyped]

from dpo_lightning import PreferenceModule
from dpo_lightning.callbacks.moving_reference import MovingReference
from dpo_lightning.cli.data_of_config import DataCLI
from dpo_lightning.cli.last_checkpoint import finds_last
from dpo_lightning.cli.sweeps.outputs import own_outputs
from dpo_lightning.cli.trainer import PreferenceCLI, refuse_masked, run_trainer
from dpo_lightning.compat.lightning_cli import NotRunning, parser_of_command
from dpo_lightning.errors import InputError
from dpo_lightning.reference import Precomputed


class CheckingCLI(NotRunning, PreferenceCLI):
    """Parses and builds what `fit` parses and builds, tries the places that it writes to, and starts nothing."""


class Checked(NamedTuple):
    """A run that would start.

    Attributes:
        words: Words of its `fit`, without those that say where it writes.
        settings: Its config as it would be saved, secrets masked.
        outputs: The config that puts what it writes into its own directory.
        goes_on: Whether `--ckpt_path last` finds what it saves.
        scores_each_step: Whether each of its steps computes a reference that could be scored once.
        shares: Whether its reference was put behind the cache.
    """

    words: tuple[str, ...]
    settings: Mapping[str, Any]
    outputs: Mapping[str, Any]
    goes_on: bool = False
    scores_each_step: bool = False
    shares: bool = False


def parsed(words: Sequence[str], directory: Path) -> Checked:
    """Parse the words of a run; nothing is built.

    Args:
        words: Those of `fit`.
        directory: The run's.

    Raises:
        InputError: for a value that means nothing, and outputs that all runs would write.
        SystemExit: 2 for a key or a value that the parser refuses, in a line on standard error.
    """
    with _silently():
        cli = run_trainer(["fit", *words], DataCLI)
    config = cli.config["fit"]
    if config.get("ckpt_path") is not None:
        raise InputError("sweep: ckpt_path: runs begin from model.policy, and go on by themselves: leave it out")
    settings = yaml.safe_load(parser_of_command(cli, "fit").dump(config, skip_none=False))
    outputs = {"trainer": own_outputs(settings["trainer"], directory)}
    refuse_masked(outputs)
    return Checked(tuple(words), settings, outputs)


def built(run: Checked) -> Checked:
    """Build what the fit of a run builds, and say what is known by that.

    Raises:
        InputError: for whatever a fit would refuse before it loads weights and rows.
    """
    with tempfile.TemporaryDirectory() as temporary, _silently():
        outputs = Path(temporary, "outputs.yaml")
        outputs.write_text(yaml.safe_dump(run.outputs), encoding="utf-8")
        cli = run_trainer(["fit", *run.words, f"--config={outputs}"], CheckingCLI)
    return run._replace(goes_on=finds_last(cli.trainer), scores_each_step=_scores_each_step(cli))


def sharing_reference(run: Checked, directory: Path) -> Checked:
    """Return the same run with its reference behind the cache, where each step computes it.

    Raises:
        InputError: for a reference that cannot be scored once.
    """
    return built(cached(run, directory)) if run.scores_each_step else run


def cached(run: Checked, directory: Path) -> Checked:
    """Parse a run once more, with its reference behind the cache."""
    source = run.settings["model"]["init_args"].get("reference")
    given = "Precomputed" if source is None else json.dumps(_around(source))
    return parsed([*run.words, f"--model.reference={given}"], directory)._replace(shares=True)


def _around(source: Mapping[str, Any]) -> dict[str, Any]:
    return {"class_path": "Precomputed", "init_args": {"source": source}}


def _scores_each_step(cli: PreferenceCLI) -> bool:
    module, callbacks = cli.model, cast(Any, cli.trainer).callbacks
    return (
        isinstance(module, PreferenceModule)
        and module.reads_reference
        and not isinstance(module.reference_settings, Precomputed)
        and not any(isinstance(each, MovingReference) for each in callbacks)
        and not getattr(cli.datamodule, "streaming", False)
    )


@contextmanager
def _silently() -> Iterator[None]:
    """Leave out what a fit says while it begins: each run says it by itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
