"""Axes of a sweep, as they are typed and as a file has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning.cli.sweeps.axes import Axis, axes_of, plain_key, split
from dpo_lightning.errors import InputError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.05,0.1,0.3", ["0.05", "0.1", "0.3"]),
        ("1e-5", ["1e-5"]),
        ("DPO, IPO", ["DPO", "IPO"]),
        ("[DPO,IPO]", ["DPO", "IPO"]),
        ("[a,b],[c]", ["[a,b]", "[c]"]),
        ("[[a,b],[c]]", ["[a,b]", "[c]"]),
        (
            "[{class_path: DPO, init_args: {beta: 0.1}},{class_path: IPO}]",
            ["{class_path: DPO, init_args: {beta: 0.1}}", "{class_path: IPO}"],
        ),
        ("{r: 4},null", ["{r: 4}", "null"]),
        ("'a,b',\"c]\"", ["a,b", "c]"]),
        ("it's,b", ["it's", "b"]),
        ("{name: 'a}, b'},x", ["{name: 'a}, b'}", "x"]),
    ],
)
def test_commas_inside_brackets_and_quotes_are_none(text: str, values: list[str]) -> None:
    assert split(text, "here") == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[DPO,IPO", "here: '[DPO,IPO': ] is missing at the end"),
        ("{a: [1}", "here: '{a: [1}': ] is missing at the end"),
        ("'a,b", "is missing at the end"),
        ("a,,b", "here: an empty value in 'a,,b': write null, or '' in quotes"),
        ("a,", "an empty value"),
        ("[]", "an empty value"),
    ],
)
def test_what_does_not_close_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        split(text, "here")
    assert said in str(refused.value)


def test_a_grid_file_has_the_same_as_objects(tmp_path: Path) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        "model:\n  objective.init_args:\n    beta: [0.1, 1e-5]\n"
        "model.lora: [null, {r: 4}]\ntrainer.inference_mode: [true]\n"
    )
    assert axes_of(["seed_everything=0,1"], grid) == [
        Axis("seed_everything", ("0", "1")),
        Axis("model.objective.init_args.beta", ("0.1", "1e-5")),
        Axis("model.lora", ("null", '{"r": 4}')),
        Axis("trainer.inference_mode", ("true",)),
    ]
    for text, said in (
        ("a: 1\n", "sweep --grid {}: a: a list of values belongs here, got '1'"),
        ("a: []\n", "sweep --grid {}: a: there is no value"),
        ("a: [1]\na: [2]\n", "config {}: line 2: the key `a` stands in line 1 as well: the first would be lost"),
    ):
        grid.write_text(text)
        with pytest.raises(InputError) as refused:
            axes_of([], grid)
        assert str(refused.value) == said.format(grid)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "over what?"),
        (["beta"], "'beta' is no KEY=VALUE,VALUE"),
        (["a.b=1", "a.init_args.b=2"], "a.init_args.b is an axis twice"),
        (["a.b=1", "a=2"], "the values of a would replace those of a.b: give --over a first"),
        (["a=1,2,1"], "the value 1 stands there twice"),
        (["config=a.yaml,b.yaml"], "config is no axis"),
        (["trainer.callbacks=a"], "trainer.callbacks is no axis"),
        (["trainer.logger.init_args.save_dir=a"], "trainer.logger is no axis"),
    ],
)
def test_what_is_no_axis_is_refused(given: list[str], said: str) -> None:
    with pytest.raises(InputError, match="sweep") as refused:
        axes_of(given, None)
    assert said in str(refused.value)


def test_an_object_may_come_before_its_settings() -> None:
    assert [axis.name for axis in axes_of(["model.objective=DPO,IPO", "model.objective.init_args.beta=1"], None)] == [
        "model.objective",
        "model.objective.beta",
    ]
    assert plain_key("model.init_args.objective.init_args.beta") == "model.objective.beta"
