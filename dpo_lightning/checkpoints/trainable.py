"""The weights in a checkpoint: of the policy the trainable parameters alone, of a subclass all that it has."""

from __future__ import annotations

from collections.abc import Collection, Iterator, MutableMapping
from itertools import chain
from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch.callbacks import BaseFinetuning
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from dpo_lightning.compat.torch import non_persistent_buffers
from dpo_lightning.errors import InputError

POLICY = "policy"
"""The name that a run's policy is registered under; its reference is not registered."""


_CHOSEN = "internal_optimizer_metadata"  # in the state of a `BaseFinetuning`
_PRUNED, _MASK = "_orig", "_mask"  # of torch.nn.utils.prune


def untrained_entries(module: nn.Module, state: Collection[str], prefix: str = "") -> list[str]:
    """Return the entries of a state dict that are of the policy and no trainable parameter of the module.

    Those are frozen weights, buffers, what a quantized weight has beside itself, and second names of tied weights; but
    the mask of a trainable weight that is pruned belongs to it.

    Args:
        module: The run's module, which has the policy.
        state: Names in a state dict of the module, or of what holds it.
        prefix: The beginning of the module's names in it.
    """
    trainable = {prefix + name for name, parameter in module.named_parameters() if parameter.requires_grad}
    trainable |= {f"{name.removesuffix(_PRUNED)}{_MASK}" for name in trainable if name.endswith(_PRUNED)}
    aliases = {prefix + name for name in _names_of_policy(module)}
    own = f"{prefix}{POLICY}."
    return [name for name in state if name not in trainable and (name.startswith(own) or name in aliases)]


def keep_trainable(module: nn.Module, state: MutableMapping[str, Any], prefix: str = "") -> None:
    """Take the `untrained_entries` out of a state dict."""
    for name in untrained_entries(module, list(state), prefix):
        del state[name]


def add_untrained(module: nn.Module, state: MutableMapping[str, Any], prefix: str, *_: Any) -> None:
    """Add to a state dict that is loaded what `keep_trainable` has left out of it, as the module has it.

    It is the hook of `Module.register_load_state_dict_pre_hook`: a module that holds this one, such as torch's
    `AveragedModel`, loads all its weights, and would miss these.
    """
    if not prefix:  # by itself the module says what is missing, see `check_trainable`
        return
    names = {prefix + name: tensor for name, tensor in saved_tensors(module)}
    for name in untrained_entries(module, names, prefix):
        state.setdefault(name, names[name])


def saved_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield what torch's `state_dict` has, by all names of each tensor, as it is in the module."""
    for place, each in module.named_modules(remove_duplicate=False):
        transient = non_persistent_buffers(each)
        own = chain(
            *(named(recurse=False, remove_duplicate=False) for named in (each.named_parameters, each.named_buffers))
        )
        yield from ((f"{place}.{name}".lstrip("."), tensor) for name, tensor in own if name not in transient)


def _names_of_policy(module: nn.Module) -> set[str]:
    """Return all names of the policy's parameters and buffers, those that a subclass gives them too."""
    policy = dict(module.named_children()).get(POLICY)
    if policy is None:
        return set()
    own = {id(tensor) for tensor in chain(policy.parameters(), policy.buffers())}
    return {name for name, tensor in saved_tensors(module) if id(tensor) in own}


def trained_by_then(checkpoint: dict[str, Any]) -> frozenset[str] | None:
    """Return the names of all parameters that the run of a checkpoint had trained, where a `BaseFinetuning` chose them.

    None where no such callback was in the run: it had trained whatever was trainable.
    """
    states = [state for state in checkpoint.get("callbacks", {}).values() if isinstance(state, dict)]
    chosen = [state[_CHOSEN] for state in states if _CHOSEN in state]
    groups = [group for groups in chosen for each in groups.values() for group in each]
    return frozenset(name for group in groups for name in group["params"]) if chosen else None


def check_trainable(
    expected: Collection[str],
    saved: Collection[str],
    unexpected: Collection[str],
    trained: Collection[str] | None = None,
) -> None:
    """Compare the parameters of a checkpoint with those of a run.

    Args:
        expected: Names of the run's trainable parameters.
        saved: Names in the checkpoint.
        unexpected: Names in the checkpoint that the module does not know.
        trained: See `trained_by_then`: others are as the policy has them.

    Raises:
        InputError: unless they are the same.
    """
    missing = [name for name in expected if name not in saved and (trained is None or name in trained)]
    if missing or unexpected:
        raise InputError(
            f"the checkpoint's trainable parameters are not this run's: {len(missing)} missing {missing[:3]}, "
            f"{len(unexpected)} unexpected {list(unexpected)[:3]}: give the policy and the `lora` of that run"
        )


def unfreeze_trained(module: nn.Module, saved: Collection[str], trainer: pl.Trainer | None) -> None:
    """Train what the run of a checkpoint has trained, also where a callback has frozen it for the beginning of a run.

    `BaseFinetuning` restores its parameter groups and leaves the parameters in them frozen.

    Args:
        module: The run's module, loaded.
        saved: Names in the checkpoint.
        trainer: The Trainer that loads; None for a module by itself.

    Raises:
        InputError: in a training run that has no such callback.
    """
    if trainer is None or trainer.state.fn != TrainerFn.FITTING:
        return
    frozen = {name: each for name, each in module.named_parameters() if name in saved and not each.requires_grad}
    trained = {name: each for name, each in frozen.items() if name.startswith(f"{POLICY}.")}
    if not trained:
        return
    if not any(isinstance(callback, BaseFinetuning) for callback in cast(Any, trainer).callbacks):
        raise InputError(
            f"the checkpoint's run trained {len(trained)} parameters that are frozen here {[*trained][:3]}: make them "
            "trainable, or give the callback that freezes them"
        )
    for each in trained.values():
        each.requires_grad_(True)
