"""The parser's messages, shortened to a line."""

from __future__ import annotations

from typing import Any

import pytest
from lightning.pytorch.cli import OptimizerCallable

from dpo_lightning import PreferenceModule
from dpo_lightning.cli.class_names import fitting_names
from dpo_lightning.cli.family import NAMES
from dpo_lightning.cli.parser_errors import explain


def test_a_message_without_structure_is_kept():
    assert explain("something is wrong", [], []) == "something is wrong"


CLASSES = ["DPO", "SimPO"]
IN_DPO = """Parser key "model.objective":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'NoneType'>, <class 'dpo_lightning.losses.base.AnyObjective'>]
  Errors:
    - Expected a <class 'NoneType'>
    - Problem with given class_path 'dpo_lightning.losses.DPO':
        Option '{}' is not accepted
"""
IN_MODULE_ITSELF = """Parser key "model":
  Errors:
    - Problem with given class_path 'dpo_lightning.PreferenceModule':
        unrecognized arguments: --objectve.beta=0.05
"""


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (IN_DPO.format("bta"), "unknown key `model.objective.bta`; did you mean `beta`?"),
        (IN_DPO.format("x"), "unknown key `model.objective.x`; its keys are beta, label_smoothing"),
        (
            IN_DPO.format("weight_decay").replace("objective", "optimizer"),
            "unknown key `model.optimizer.weight_decay`; its keys are beta, label_smoothing",
        ),
        (
            'Parser key "model.objective":\n  - Expected a dot import path string: my_losses.Robust',
            "model.objective: no class my_losses.Robust; there are DPO, SimPO",
        ),
        ("Unrecognized arguments: --data.sed=3", "unknown key `data.sed`; did you mean `data.seed`?"),
        ("Unrecognized arguments: --nowhere=3", "unknown key `nowhere`"),
        (
            "Unrecognized arguments: --gpu=A100",
            "unknown key `gpu`: it is no key, but the flag --gpu of `dpo-lightning plan`",
        ),
        ("Unrecognized arguments: --config=3", "unknown key `config`"),
        (
            "Unrecognized arguments: --modle.objective.beta=1",
            "unknown key `modle.objective.beta`; did you mean `model`?",
        ),
        (IN_MODULE_ITSELF, "unknown key `model.objectve.beta`; did you mean `objective`?"),
        (
            'Parser key "a.b":\n  - Expected a dot import path string: DPPO',
            "a.b: no class DPPO; did you mean `DPO`?",
        ),
        ('Parser key "a":\n  Expected a dot import path string: Nothing', "a: no class Nothing; there are DPO, SimPO"),
        (
            'Parser key "a":\n  Import path x.DPO does not correspond to a subclass of Tree',
            "a: x.DPO does not fit here",
        ),
        ('Parser key "a":\n  Parser key "b.c": Expected a number', "a.b.c: Expected a number"),
    ],
    ids=[
        "near",
        "far",
        "here",
        "own class",
        "top",
        "nowhere",
        "a flag of plan",
        "no flag of one command",
        "section",
        "argument",
        "class",
        "other class",
        "wrong class",
        "nested",
    ],
)
def test_the_innermost_complaint_is_told_with_the_way_to_it(message: str, line: str) -> None:
    assert explain(message, ["data.seed", "model.policy"], CLASSES) == line


OPTIMIZERS = ", ".join(fitting_names(OptimizerCallable))
KINDS = ["DPO", "Objective", "SimPO", "KTO", "FrozenCopy", "AdapterOff", "Reference", "LoRA", "StepZeroCheck", "IPO"]
IN_MODULE = """Parser key "model":
  Errors:
    - Problem with given class_path '{}':
        Parser key "{}":
          Errors:
            - {}: {}
"""
NO_CLASS = "Expected a dot import path string"


class KeywordsOnly(PreferenceModule):
    """A module of one's own that hands its keywords on."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__("some/model", **keywords)


class HintsWhatIsNotThere:
    """A class whose hints cannot be read."""

    def __init__(self, objective: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
        pass


@pytest.mark.parametrize(
    ("owner", "key", "name", "line"),
    [
        ("dpo_lightning.PreferenceModule", "objective", "Dpo", "did you mean `DPO`?"),
        ("dpo_lightning.PreferenceModule", "objective", "Zzzz", "there are DPO, SimPO, KTO, IPO"),
        ("dpo_lightning.WPO", "objective", "Zzzz", "there are DPO, SimPO, KTO, IPO"),
        ("dpo_lightning.Weighted", "objectives", "Zzzz", "there are DPO, SimPO, KTO, IPO"),
        ("dpo_lightning.PreferenceModule", "reference", "Frozen", "did you mean `FrozenCopy`?"),
        ("dpo_lightning.PreferenceModule", "reference", "Zzzz", "there are FrozenCopy, AdapterOff"),
        ("dpo_lightning.PreferenceModule", "lora", "lora", "did you mean `LoRA`?"),
        (f"{__name__}.KeywordsOnly", "lora", "Zzzz", "there are LoRA"),
        (
            "dpo_lightning.PreferenceModule",
            "optimizer",
            "Zzzz",
            f"there are {OPTIMIZERS}, and others by their whole path",
        ),
        (f"{__name__}.HintsWhatIsNotThere", "objective", "Zzzz", f"there are {', '.join(KINDS)}"),
        ("no.such.Class", "objective", "Zzzz", f"there are {', '.join(KINDS)}"),
    ],
)
def test_classes_that_the_argument_takes_are_named(owner: str, key: str, name: str, line: str) -> None:
    message = IN_MODULE.format(owner, key, NO_CLASS, name)
    assert explain(message, [], KINDS) == f"model.{key}: no class {name}; {line}"


@pytest.mark.parametrize(
    ("complaint", "name"),
    [(NO_CLASS, "some/model"), ("Unexpected import path format", "./model"), (NO_CLASS, "/models/a")],
)
def test_a_models_name_in_the_place_of_a_reference_is_told_what_to_write(complaint: str, name: str) -> None:
    message = IN_MODULE.format("dpo_lightning.PreferenceModule", "reference", complaint, name)
    written = f"{{class_path: FrozenCopy, init_args: {{checkpoint: {name}}}}}"
    assert explain(message, [], KINDS) == f"model.reference: no class {name}; of a model write {written}"


def test_callbacks_of_other_packages_are_not_denied() -> None:
    message = 'Parser key "trainer.callbacks":\n  - Expected a dot import path string: Zzzz'
    said = explain(message, [], KINDS)
    assert said.startswith("trainer.callbacks: no class Zzzz; there are ")
    assert "EarlyStopping" in said
    assert said.endswith(", and others by their whole path")
    near = explain(message.replace("Zzzz", "earlystoping"), [], KINDS)
    assert near == "trainer.callbacks: no class earlystoping; did you mean `EarlyStopping`?"


@pytest.mark.parametrize(
    ("key", "name", "line"),
    [
        ("model.optimizer", "adamw", "did you mean `AdamW`?"),
        ("model.optimizer", "paged_adamw_8bit", "is bitsandbytes.optim.PagedAdamW8bit here"),
        ("trainer.logger", "wandb", "is WandbLogger here"),
        ("trainer.logger", "csv", "is CSVLogger here"),
    ],
)
def test_names_of_other_trainers_for_what_is_not_ours(key: str, name: str, line: str) -> None:
    owner = (
        "" if key.startswith("trainer") else "    - Problem with given class_path 'dpo_lightning.PreferenceModule':\n"
    )
    said = explain(f'Parser key "{key}":\n{owner}  - Expected a dot import path string: {name}', [], ["AdamW"])
    assert said.startswith(f"{key}: no class {name}; ")
    assert said.endswith(line)


UNION = """Parser key "{}":
  Does not validate against any of the Union subtypes
  Errors:
    - Problem with given class_path '{}':
        Parser key "{}":
          Does not validate against any of the Union subtypes
          Subtypes: [<class 'float'>, <class 'str'>]
          Errors:
            - Expected a <class 'float'>
            - Expected a <class 'str'>
          Given value type: <class 'int'>
          Given value: 3
  Given value type: <class 'dict'>
  Given value: {{'outer': 1}}
"""
ONE = """Parser key "data":
  Errors:
    - Problem with given class_path 'dpo_lightning.PreferenceDataModule':
        Parser key "max_length":
          Expected a <class 'int'>{}
  Given value: {{'outer': 1}}
"""


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            UNION.format("data", "dpo_lightning.PreferenceDataModule", "val_split"),
            "data.val_split: expected a number or text or null or a mapping, each a number or text, got 3",
        ),
        (
            UNION.format("trainer.callbacks", "dpo_lightning.UpdateGuard", "spike"),
            "trainer.callbacks.spike: expected a number or null, got 3",
        ),
        (
            "argument subcommand: invalid choice: 'fti' (choose from 'fit', 'validate')",
            "unknown command `fti`; did you mean `fit`?",
        ),
        (
            'expected "subcommand" to be one of {fit,validate}, but it was not provided.',
            f"give a command; there are {', '.join(NAMES)}",
        ),
        (ONE.format(". Got value: x"), "data.max_length: expected a whole number, got x"),
        (ONE.format(""), "data.max_length: expected a whole number"),
        (
            "Parser key \"seed_everything\":\n  - Expected a <class 'bool'>\n  Given value: x",
            "seed_everything: expected true or false or a whole number, got x",
        ),
        (
            "Parser key \"trainer.devices\":\n  Errors:\n    - Expected a <class 'list'>\n  Given value: {}",
            "trainer.devices: expected text or a whole number or a list, each a whole number, got {}",
        ),
        (
            "the following arguments are required: fit.model, fit.data",
            "nothing gives data and model: write it in a config for --config, or as a flag",
        ),
        (
            'Parser key "model":\n  the following arguments are required: policy',
            "nothing gives model.policy: write it in a config for --config, or as a flag",
        ),
        (
            IN_MODULE.format("dpo_lightning.PreferenceModule", "lora", NO_CLASS, ""),
            "model.lora: no class ''; there are LoRA",
        ),
        (
            IN_MODULE.format("dpo_lightning.PreferenceModule", "lora", NO_CLASS, "true"),
            "model.lora: expected LoRA or null, got true: write lora: LoRA, or its settings below the key",
        ),
        (
            IN_MODULE_ITSELF.replace(
                "unrecognized arguments: --objectve.beta=0.05", f"--objective.help: {NO_CLASS}: SimP"
            ),
            "model.objective: no class SimP; did you mean `SimPO`?",
        ),
        (
            IN_MODULE.format(
                "dpo_lightning.PreferenceModule", "lora", "Subclasses are disabled for LoRA, thus 'X'", ""
            ),
            "model.lora: X does not fit here; there are LoRA",
        ),
    ],
)
def test_all_that_an_argument_takes_is_told(message: str, line: str) -> None:
    assert explain(message, [], KINDS) == line
