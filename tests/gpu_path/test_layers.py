"""A compiled layer moves less than the layer as it is written, and starts fewer kernels, by bounds for both shapes."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from tests.gpu_path.bounds import CASES
from tests.gpu_path.layers import Count, as_written, compiled
from tests.gpu_path.predict import RESULTS, total


class Share(NamedTuple):
    """The most that a compiled layer may take of the layer as written: kernels, and elementwise bytes."""

    launches: float
    elementwise: float


SHARES = {
    "1b full mixed hh 64": Share(0.41, 0.32),
    "1b full mixed uf 16": Share(0.41, 0.32),
    "1b full mixed long 4": Share(0.41, 0.32),
    "8b lora true uf 8": Share(0.49, 0.43),
    "8b lora true long 2": Share(0.49, 0.43),
}


def committed(name: str, form: str) -> dict[str, Count]:
    """What the file of predictions has of a layer."""
    case: Any = json.loads(RESULTS.read_text(encoding="utf-8"))["cases"][name]
    return {phase: Count(**count) for phase, count in case["layer"][form].items()}


@pytest.mark.parametrize("name", CASES)
def test_a_compiled_layer_takes_a_share_of_the_layer_as_written(name: str) -> None:
    """Fails where `python -m tests.gpu_path.predict` writes that something is fused no more, or costs more."""
    written, fused = (total(committed(name, form)) for form in ("as_written", "compiled"))
    assert 0 < fused.launches <= SHARES[name].launches * written.launches
    assert 0 < fused.elementwise <= SHARES[name].elementwise * written.elementwise
    assert fused.products <= 1.01 * written.products


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_the_file_has_the_layers_as_they_are_written(name: str) -> None:
    """Fails where a layer has changed since: `python -m tests.gpu_path.predict` writes the file anew."""
    assert total(as_written(CASES[name])) == pytest.approx(total(committed(name, "as_written")), rel=0.01)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_file_has_the_layer_as_it_is_compiled() -> None:
    """Of one pass, since the compiler takes its time; another version of it may fuse a little more or less."""
    name = "8b lora true uf 8"
    found, expected = compiled(CASES[name], trained=False)["reference"], committed(name, "compiled")["reference"]
    assert found.products == pytest.approx(expected.products, rel=0.01)
    assert found.launches == pytest.approx(expected.launches, rel=0.25)
    assert found.elementwise == pytest.approx(expected.elementwise, rel=0.25)
