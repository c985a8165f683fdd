"""The data of a config, without the run: for the commands that look at rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

from jsonargparse import ArgumentParser, Namespace

from dpo_lightning import PreferenceDataModule, PreferenceModule
from dpo_lightning.cli.trainer import PreferenceCLI, run_trainer
from dpo_lightning.cli.values import refusals_of_others
from dpo_lightning.compat.lightning_cli import ParsingOnly
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.policy.prepare import PolicyOptions

NO_POLICY = "none"
"""Stands for the policy where there is no config."""


class DataCLI(ParsingOnly, PreferenceCLI):
    """Parses what `fit` parses, and builds nothing of it."""


class DataOfConfig(NamedTuple):
    """The data of a run, and the policy that it is for.

    Attributes:
        data: The DataModule; nothing is read yet.
        read: What the objective reads of the rows.
        policy: Name or directory of the policy; None where the config has none.
        options: How the policy is loaded.
    """

    data: PreferenceDataModule
    read: DataRead
    policy: str | None
    options: PolicyOptions


def data_of_config(words: Sequence[str]) -> DataOfConfig:
    """Build the DataModule of a run from the words of `fit`; the tokenizer is the policy's where none is named.

    Raises:
        InputError: for a setting that is refused.
    """
    with warnings.catch_warnings():
        # The words in place of the command's own are meant.
        warnings.filterwarnings("ignore", "LightningCLI's args parameter")
        cli = run_trainer(["fit", *words], DataCLI)
    config = cli.config["fit"]
    model = config.model.init_args
    policy = model.policy if isinstance(model.policy, str) and model.policy != NO_POLICY else None
    if config.data.init_args.get("tokenizer") is None and policy is not None:
        config.data.init_args.tokenizer = policy
    parser = ArgumentParser()
    parser.add_subclass_arguments(PreferenceDataModule, "data")
    parser.add_subclass_arguments(PreferenceModule, "model")
    with refusals_of_others(config.as_dict()):
        found = parser.instantiate_classes(Namespace(data=config.data, model=config.model))
    return DataOfConfig(
        found.data, found.model.data_read(), policy, PolicyOptions(model_kwargs=model.get("model_kwargs"))
    )
