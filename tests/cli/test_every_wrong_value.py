"""Every key with every kind of value: it is taken, or refused in one line that names the key.

The parser's keys are walked with their types; hypothesis draws the values. Most of the time to parse a section goes to
arguments that a case does not set, so its parser has those that it sets: the same classes, checks and answers as in
the command.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.optim import SGD, AdamW, RMSprop

import dpo_lightning
from dpo_lightning import AnyObjective, LoRA, PreferenceDataModule, PreferenceModule, RowFormat, UnpairedFormat
from dpo_lightning.cli.main import cause_in_a_line
from dpo_lightning.cli.trainer import OneLineParser
from dpo_lightning.cli.values import check_values, refusals_of_others
from dpo_lightning.compat.jsonargparse import booleans_as_written, defaults_of_their_own
from dpo_lightning.utils.kinds import argument_annotations, takes

CASES = int(os.environ.get("WRONG", "3000"))  # WRONG=30 for a glance
SECTIONS = {"model": PreferenceModule, "data": PreferenceDataModule, "trainer": Trainer}
NEEDED: dict[str, dict[str, Any]] = {
    "model": {"policy": "somewhere"},
    "data": {"dataset": "rows.jsonl"},
    "trainer": {"accelerator": "cpu", "logger": False, "enable_progress_bar": False},
}
OBJECTIVES = [
    kind
    for kind in (getattr(dpo_lightning, name) for name in dpo_lightning.__all__ if name[0].isupper())
    if isinstance(kind, type) and issubclass(kind, AnyObjective) and not inspect.isabstract(kind)
]
CALLBACKS = ["BEMAReference", "EMAReference", "Export", "ResumableCheckpoint", "SampleTable", "StepZeroCheck"]
CALLBACKS += ["TrustRegionReference", "UpdateGuard", "WriteRewards"]


class Key(NamedTuple):
    """An argument that a config can set: its section, the keys down to its object, the object's class."""

    section: str
    path: tuple[str, ...]
    kind: type
    name: str

    @property
    def hint(self) -> Any:
        return argument_annotations(self.kind).get(self.name, Any)

    @property
    def default(self) -> Any:
        return inspect.signature(self.kind).parameters[self.name].default

    def config(self, value: Any) -> dict[str, Any]:
        """A config that sets the argument, and beside it only what is needed."""
        needed = {name: "x" for name, each in _parameters(self.kind) if each.default is each.empty}
        if self.kind is dpo_lightning.Export:  # writes one of two
            needed["path" if self.name == "merged_path" else "merged_path"] = "x"
        inner: Any = {**needed, self.name: value}
        if self.path:
            inner = {"class_path": f"{self.kind.__module__}.{self.kind.__qualname__}", "init_args": inner}
        for step in reversed(self.path):
            inner = [inner] if step in ("callbacks", "logger") else inner
            inner = {step: inner}
        return {self.section: {**NEEDED[self.section], **inner}}


def _parameters(kind: type) -> Iterator[tuple[str, inspect.Parameter]]:
    for name, each in inspect.signature(kind).parameters.items():
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD) and name != "params":
            yield name, each


def _keys() -> Iterator[Key]:
    objects: list[tuple[str, tuple[str, ...], type]] = [(section, (), kind) for section, kind in SECTIONS.items()]
    objects += [("model", ("objective",), kind) for kind in OBJECTIVES if not _nested(kind)]
    objects += [("model", ("schedule",), kind) for kind in (dpo_lightning.Constant, dpo_lightning.Cosine)]
    objects += [("model", ("optimizer",), kind) for kind in (AdamW, SGD, RMSprop)]
    objects += [("model", ("reference",), kind) for kind in (dpo_lightning.Precomputed, dpo_lightning.FrozenCopy)]
    objects += [("model", ("lora",), LoRA), ("data", ("format",), RowFormat), ("data", ("format",), UnpairedFormat)]
    objects += [("trainer", ("callbacks",), getattr(dpo_lightning, name)) for name in CALLBACKS]
    objects += [("trainer", ("callbacks",), kind) for kind in (EarlyStopping, ModelCheckpoint)]
    objects += [("trainer", ("logger",), CSVLogger), ("trainer", ("logger",), dpo_lightning.PlotLogger)]
    for section, path, kind in objects:
        for name, _ in _parameters(kind):
            yield Key(section, path, kind, name)


def _nested(kind: type) -> bool:
    return any(name in ("objective", "objectives", "divergence") for name, _ in _parameters(kind))


KEYS = list(_keys())
# Another machine's parts, and what the parser cannot be given in plain form.
MAY_BE_INFINITE = {"StepZeroCheck": ("tolerance",)}
MAY_BE_NEGATIVE = {"AlphaPO": ("alpha",), "UnpairedFormat": ("threshold",)}
NOT_HERE = {"plugins", "strategy", "num_nodes", "barebones"}
ONE_OF_TWO = {"dataset"}  # null beside `sources` alone


@functools.cache
def parser_of(section: str, names: frozenset[str] | None = None) -> OneLineParser:
    """What `add_lightning_class_args` adds, of these arguments alone; of all where none are given."""
    parser, kind = OneLineParser(), SECTIONS[section]
    others = set() if names is None else {name for name, _ in _parameters(kind)} - names
    if section == "trainer":
        parser.add_class_arguments(kind, section, fail_untyped=False, instantiate=False, sub_configs=True, skip=others)
    else:
        parser.add_subclass_arguments(kind, section, fail_untyped=False, required=True, skip=others)
    return parser


def answer(config: dict[str, Any]) -> str | None:
    """What the command says of a config, None where it takes it; anything but a refusal is raised."""
    ((section, given),) = config.items()
    parser, said = parser_of(section, frozenset(given)), io.StringIO()
    try:
        with contextlib.redirect_stderr(said), defaults_of_their_own(), booleans_as_written():
            parsed = parser.parse_object(config)
        values = {"trainer": {}, **parsed.as_dict()}
        check_values(values)
        with refusals_of_others(values):
            built = parser.instantiate_classes(parsed)
            if section == "trainer":
                Trainer(**built["trainer"].as_dict() if hasattr(built["trainer"], "as_dict") else built["trainer"])
    except SystemExit:  # with 2, as tests of the parser hold
        return said.getvalue().rstrip("\n")
    except Exception as error:
        known = cause_in_a_line(error)
        if known is None:
            raise
        return f"error: {known}"
    return None


ODD = [None, True, False, 0, -1, 1, 2.5, -0.5, math.nan, math.inf, -math.inf, 10**30, "", "x", "1e-5", "yes", "null"]
ODD += [[], [1], [None], ["a"], [[1]], {}, {"a": 1}, {"class_path": "Nope"}, "DPO", "\n", "\x1b[31m"]
values = st.sampled_from(ODD) | st.integers(-(2**40), 2**40) | st.floats() | st.text("ab1.\n", max_size=6)


def surely_wrong(key: Key, value: Any) -> bool:
    """Whether no reading of the value makes sense; a text may be a number, as `1e-5` is one in YAML."""
    if key.hint is bool and isinstance(value, str):
        return value.strip().lower() not in ("true", "false")
    if key.hint is Any or isinstance(value, str | dict):
        return False
    if isinstance(value, float) and math.isnan(value):
        return True
    if value is None and key.default is None:
        return False
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and key.kind.__module__.startswith("dpo_lightning.")
        and key.path
    ):
        return (
            (value < 0 and key.name not in MAY_BE_NEGATIVE.get(key.kind.__name__, ()))
            or (math.isinf(value) and key.name not in MAY_BE_INFINITE.get(key.kind.__name__, ()))
            or not takes(key.hint, value)
        )
    return not takes(key.hint, value)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty working directory, for all cases."""
    before, there = Path.cwd(), tmp_path_factory.mktemp("empty")
    os.chdir(there)
    yield there
    os.chdir(before)


@pytest.mark.filterwarnings("ignore")
@settings(
    max_examples=CASES,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(key=st.sampled_from([key for key in KEYS if key.name not in NOT_HERE]), value=values)
def test_a_value_is_taken_or_refused_in_one_line(empty: Path, key: Key, value: Any) -> None:
    line = answer(key.config(value))
    if line is None:
        assert not surely_wrong(key, value), f"{key} takes {value!r}"
    else:
        assert line.startswith("error: "), line
        assert len(line.splitlines()) == 1, line
        assert key.name in line or (key.path and key.path[-1] in line), line
    assert not list(empty.iterdir()), "a refused config wrote something"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("section", SECTIONS)
def test_every_default_is_taken(empty: Path, section: str) -> None:
    for key in KEYS:
        plain = isinstance(key.default, bool | int | float | str | list | None)
        if key.section == section and plain and key.name not in NOT_HERE | ONE_OF_TWO:
            assert answer(key.config(key.default)) is None, key


VALID = {
    ("model", "policy"): ["some/model"],
    ("model", "objective"): ["SimPO", {"class_path": "DPO", "init_args": {"beta": 0.5}}],
    ("model", "reference"): ["FrozenCopy", {"class_path": "Precomputed"}],
    ("model", "lora"): [{"r": 4, "alpha": 8}],
    ("model", "model_kwargs"): [{"revision": "main"}],
    ("model", "router_aux_loss_coef"): [0, 0.1],
    ("model", "schedule"): ["Cosine", {"class_path": "Linear", "init_args": {"warmup": 3}}],
    ("data", "val_split"): [0.1, "test", {"near": "test[:10]", "far": "more.jsonl"}],
    ("data", "test_split"): ["test", {"near": "test[:10]"}],
    ("data", "max_prompt_length"): [1, 10],
    ("data", "batch_pairs"): [1, "2"],
    ("data", "length_grouped"): [True, "false"],
    ("data", "layout"): ["auto", "tree", "padded"],
    ("data", "num_workers"): [0, 2],
    ("data", "num_proc"): [1, "2"],
    ("data", "seed"): [0, 2**32 - 1],
    ("trainer", "max_time"): ["00:01:00:00", {"hours": 1}],
    ("trainer", "precision"): ["bf16-mixed", "32-true", 32],
    ("trainer", "val_check_interval"): [1, 0.5],
    ("trainer", "limit_train_batches"): [3, 0.5],
    ("trainer", "gradient_clip_val"): [0, 1.5],
    ("trainer", "fast_dev_run"): [True, 2, "true"],
    ("trainer", "devices"): [1, "1", "auto"],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("section", "name"), VALID)
def test_what_is_right_is_taken(empty: Path, section: str, name: str) -> None:
    for value in VALID[section, name]:
        assert answer(Key(section, (), SECTIONS[section], name).config(value)) is None, value


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(NOT_HERE))
@pytest.mark.parametrize("value", [math.nan, -1, [[1]], {"class_path": "Nope"}, "yes"])
def test_what_would_start_something_is_refused_where_it_is_wrong(empty: Path, name: str, value: Any) -> None:
    line = answer(Key("trainer", (), Trainer, name).config(value))
    assert line is not None
    assert line.startswith("error: trainer")
    assert len(line.splitlines()) == 1


def test_a_mapping_for_a_rate_is_one_line(empty: Path) -> None:
    line = answer(Key("model", ("optimizer",), AdamW, "lr").config({}))
    assert line is not None
    assert line.startswith("error: model.optimizer.lr: ")
    assert "\n" not in line
