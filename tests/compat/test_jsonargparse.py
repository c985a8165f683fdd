"""The words of the parser are those that are looked for."""

from __future__ import annotations

from functools import partial
from typing import Any, Optional

import pytest
import torch
from lightning.pytorch.cli import LightningArgumentParser, OptimizerCallable

from dpo_lightning import EXO, ChiPO, Cosine, PreferenceModule, SimPO
from dpo_lightning.compat import jsonargparse as patterns
from dpo_lightning.compat.jsonargparse import defaults_of_their_own


@pytest.mark.parametrize(
    ("pattern", "arguments"),
    [
        ("UNKNOWN_KEY", ["--nothing", "1"]),
        ("KEY", ["--x", "a"]),
        ("UNKNOWN_CLASS", ["--optimizer", "Nothing"]),
        ("WRONG_CLASS", ["--optimizer.class_path", "torch.nn.Linear"]),
        ("CLASS", ["--optimizer", "torch.optim.AdamW", "--optimizer.nothing", "3"]),
        ("UNKNOWN_OPTION", ["--optimizer", "torch.optim.AdamW", "--optimizer.nothing", "3"]),
        ("SCAFFOLD", ["--optimizer.class_path", "torch.nn.Linear"]),
    ],
)
def test_the_parsers_words_are_those_that_are_looked_for(pattern: str, arguments: list[str]) -> None:
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--x", type=int)
    parser.add_subclass_arguments(torch.optim.Optimizer, "optimizer", skip={"params"}, required=False)
    with pytest.raises(ArgumentError) as caught:
        parser.parse_args(arguments)
    assert getattr(patterns, pattern).search(str(caught.value)), str(caught.value)
    assert {"x", "optimizer"} <= set(patterns.option_names(parser))


def test_the_class_that_jsonargparse_makes_of_a_class_path_is_found() -> None:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--optimizer", type=OptimizerCallable)
    parsed = parser.parse_args(["--optimizer=torch.optim.SGD", "--optimizer.lr=0.5"])
    maker = parser.instantiate_classes(parsed).optimizer

    assert patterns.class_made(maker) is torch.optim.SGD
    assert maker.keywords["lr"] == 0.5
    assert patterns.class_made(partial(torch.optim.SGD, lr=0.5)) is torch.optim.SGD
    assert patterns.class_made(partial(torch.optim.SGD, [])) is None
    assert patterns.class_made(partial(isinstance, 3, int)) is None
    assert patterns.class_made(partial([].append, int)) is None


@pytest.mark.parametrize(
    ("key", "made"),
    [("objective", ChiPO()), ("objective", EXO()), ("objective", SimPO()), ("schedule", Cosine())],
    ids=lambda value: type(value).__name__,
)
def test_a_class_in_the_place_of_another_has_its_own_defaults(key: str, made: Any) -> None:
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(PreferenceModule, "model", subclass_mode=True)
    spec = {"class_path": f"{type(made).__module__}.{type(made).__qualname__}"}
    with defaults_of_their_own():
        parsed = parser.parse_object({"model": {"policy": "somewhere", key: spec}})
        flagged = parser.parse_args(["--model.policy=somewhere", f"--model.{key}={spec['class_path']}"])
    for each in (parsed, flagged):
        model = parser.instantiate_classes(each).model
        assert (model.objective if key == "objective" else model._schedule) == made


def test_arguments_are_told_with_type_default_and_help() -> None:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Cosine, "schedule")
    parser.add_argument("--needed", type=Optional[int], required=True, help="A number.")
    found = {each.name: each for each in patterns.typed_arguments(parser)}
    assert found["schedule.warmup"].default == Cosine().warmup
    assert not found["schedule.warmup"].required
    assert found["needed"] == ("needed", Optional[int], None, True, "A number.")
