"""Modules and parameters below a module, walked anew only where a child has come, gone or been replaced."""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch import nn


class _Walk(NamedTuple):
    """Modules below another, without that one itself, which the walk shall not keep alive.

    Attributes:
        below: Names and modules, in the order of `named_modules()`.
        leaves: The dict of children of each module that had none.
        parents: That of each other one.
        held: What these held.
        parameters: The dict of the own parameters of each module that was walked.
        kinds: Those of the modules that are of a class.
    """

    below: list[tuple[str, nn.Module]]
    leaves: list[dict[str, Any]]
    parents: list[dict[str, Any]]
    held: _Held
    parameters: list[dict[str, nn.Parameter | None]]
    kinds: dict[type[Any], list[tuple[str, Any]]]

    def is_right(self) -> bool:
        """Return whether each module has the children that it had."""
        return not any(self.leaves) and _Held.by(self.parents) == self.held


class _Held(NamedTuple):
    """Children of modules, all in three lists, which takes a third of the time of a look at each module.

    Attributes:
        counts: How many each has.
        names: Their names.
        ids: Theirs, which stay while somebody holds them: a metric is equal to whatever it is compared with.
    """

    counts: list[int]
    names: list[str]
    ids: list[int]

    @classmethod
    def by(cls, parents: list[dict[str, Any]]) -> _Held:
        """Return what the dicts of children hold."""
        ids = [*map(id, chain.from_iterable([each.values() for each in parents]))]
        return cls([*map(len, parents)], [*chain.from_iterable(parents)], ids)


_walks: WeakKeyDictionary[nn.Module, _Walk] = WeakKeyDictionary()


def modules_of_kind(module: nn.Module, kind: type[Any]) -> list[tuple[str, Any]]:
    """Return those of `named_modules()` that are of a class; to ask an abstract one takes as long as to walk."""
    walk = _walk_of(module)
    if kind not in walk.kinds:
        walk.kinds[kind] = [(name, each) for name, each in walk.below if isinstance(each, kind)]
    return [*([("", module)] if isinstance(module, kind) else []), *walk.kinds[kind]]


def _walk_of(module: nn.Module) -> _Walk:
    """Walk below a module, at a fifth of the time where nothing has changed."""
    walk = _walks.get(module)
    if walk is None or not walk.is_right():
        walk = _walks[module] = _walk_anew(module)
    return walk


def _walk_anew(module: nn.Module) -> _Walk:
    """Walk below a module.

    Touches `Module._modules` and `Module._parameters`, the dicts of children and of parameters: `named_children()`
    takes as long as the walk that is to be saved.
    """
    below = [(name, each) for name, each in module.named_modules() if each is not module]
    walked = [module, *(each for _, each in below)]
    children: list[dict[str, Any]] = [each._modules for each in walked]
    leaves, parents = [each for each in children if not each], [each for each in children if each]
    return _Walk(below, leaves, parents, _Held.by(parents), [each._parameters for each in walked], {})


def parameters_of(module: nn.Module) -> dict[int, nn.Parameter]:
    """Return what `parameters()` yields, each once, by `id`: a tensor's own hash takes ten times as long.

    They are read anew in each call, since FSDP2 puts others in their places within a step.
    """
    found = chain.from_iterable([own.values() for own in _walk_of(module).parameters if own])
    return {id(each): each for each in found if each is not None}


def forget_walk(module: nn.Module) -> None:
    """Let go of what is below a module: one of them may hold the module."""
    _walks.pop(module, None)


class Walked:
    """The modules of a model, without a walk each time: a list, made anew when one of them has other children.

    torch's walk of 16 layers with adapters takes 4 ms. Who holds it keeps the model alive, and nothing else does: a
    module may refer to the one above it.

    Args:
        model: The model; it is walked at the first call.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._walk: _Walk | None = None
        self._modules: list[nn.Module] = []

    def __call__(self) -> list[nn.Module]:
        """Return the modules, each once, the model first."""
        if self._walk is None or not self._walk.is_right():
            self._walk = _walk_anew(self._model)
            self._modules = [self._model, *(each for _, each in self._walk.below)]
        return self._modules
