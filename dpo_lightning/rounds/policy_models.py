"""Models that generate: the policy of a checkpoint, a model or an adapter, and what it is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.optim import AdamW

from dpo_lightning import DPO, SFT, Constant, PreferenceModule
from dpo_lightning.errors import InputError
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.reference import NoReference
from dpo_lightning.rounds.saved_policy import (
    is_checkpoint,
    loaded_model,
    loaded_module,
    module_with_reference,
    run_tokenizer,
    single_file,
)


class Models(NamedTuple):
    """A policy, what is its reference inside a block, and the name that a tokenizer is looked for by."""

    policy: nn.Module
    reference: Any
    name: str | None


@contextmanager
def models_of(source: str, run: Mapping[str, Any], *, with_reference: bool = False) -> Iterator[Models]:
    """Load a policy, and its reference where it is asked for.

    Args:
        source: A checkpoint, a model or an adapter.
        run: Settings from `run_settings`.
        with_reference: Whether there must be a reference.

    Raises:
        InputError: for what cannot be loaded, and for a reference that is not there.
    """
    path = Path(source)
    if is_checkpoint(path):
        with single_file(path) as file:
            module = _of_checkpoint(file, run, with_reference=with_reference)
            yield Models(module.policy, _reference_of(module) if with_reference else None, module.policy_name)
        return
    policy = loaded_model(source, run)
    if with_reference and not is_adapted(policy):
        raise InputError(
            f"generate --reference: {source} is a whole model, and no reference is beside it: give the run's "
            "checkpoint, or generate from the other model too"
        )
    yield Models(policy, _without_adapter(policy) if with_reference else None, source)


def tokenizer_of(models: Models, run: Mapping[str, Any], command: str) -> Any:
    """Return the tokenizer of a policy.

    Raises:
        InputError: where there is none; `command` names the command in it.
    """
    tokenizer = run_tokenizer(run["data"], models.name)
    if tokenizer is None:
        raise InputError(f"{command}: no tokenizer beside the model: give the run's config as --config")
    return tokenizer


def on_its_device(model: nn.Module) -> nn.Module:
    """Move a model to the GPU, where there is one."""
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _of_checkpoint(file: Path, run: Mapping[str, Any], *, with_reference: bool) -> PreferenceModule:
    unread: dict[str, Any] = {"optimizer": AdamW, "schedule": Constant()}
    if not with_reference:
        return loaded_module(file, run, **unread, objective=SFT(), reference=NoReference())
    return module_with_reference(file, run, **unread, objective=DPO())


@contextmanager
def _reference_of(module: PreferenceModule) -> Iterator[nn.Module]:
    with module.reference.generating() as model:
        if model is None:
            raise InputError(
                "generate --reference: the run has none that generates, or its model is gone: leave it out"
            )
        yield model


@contextmanager
def _without_adapter(policy: nn.Module) -> Iterator[nn.Module]:
    with cast(Any, policy).disable_adapter():
        yield policy
