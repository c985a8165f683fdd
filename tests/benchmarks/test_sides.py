"""Every side trains the same: the same log-probs before, and the same losses on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare_models import save_model
from benchmarks.compare_sides import SIDES, Spec
from benchmarks.profiles import as_lists, as_pairs, orders, random_examples
from benchmarks.side_run import run

WARMUP, STEPS, PROMPTS = 1, 3, 2

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),
    pytest.mark.filterwarnings("ignore:You are using `torch.load` with"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model("tiny", folder, 256)
    return folder


def figures(side: str, mode: str, precision: str, model: Path, scratch: Path, profile: str = "hh") -> dict[str, Any]:
    """Figures of steps of two prompts."""
    order = orders(random_examples(profile, 32, 512, 256), WARMUP, STEPS, PROMPTS)
    examples = (as_lists if SIDES[side].lists else as_pairs)(order["grouped" if SIDES[side].grouped else "shuffled"])
    spec = Spec(
        side=side,
        model=str(model),
        mode=mode,
        precision=precision,
        device="cpu",
        warmup=WARMUP,
        batch=len(examples) // (WARMUP + STEPS),
        examples=examples,
        scratch=str(scratch),
    )
    return run(spec)


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_all_sides_agree(mode: str, model: Path, tmp_path: Path) -> None:
    trl = figures("trl-stored", mode, "fp32", model, tmp_path)
    for side in ("tree", "bare", "trl"):
        ours = figures(side, mode, "fp32", model, tmp_path)
        assert ours["first_logps"] == pytest.approx(trl["first_logps"], rel=1e-5), side
        assert ours["losses"] == pytest.approx(trl["losses"], rel=1e-4), side
        assert len(ours["step_s"]) == STEPS
        assert ours["peak_mib"] >= ours["rss_before_mib"]
    # The first loss is ln 2 whatever the gradients are; the others are not.
    assert max(abs(loss - trl["losses"][0]) for loss in trl["losses"]) > 1e-3


def test_grouped_sides_agree_and_the_reference_has_a_cost(model: Path, tmp_path: Path) -> None:
    ours = figures("padded", "full", "bf16", model, tmp_path)
    trl = figures("trl-best", "full", "bf16", model, tmp_path)
    assert ours["first_logps"] == pytest.approx(trl["first_logps"], rel=1e-3)
    assert ours["losses"] == pytest.approx(trl["losses"], rel=1e-2)
    assert trl["precompute_s"] > 0


def test_a_list_of_four_trains_as_its_six_pairs_do(model: Path, tmp_path: Path) -> None:
    pairs = figures("tree", "full", "fp32", model, tmp_path, "four")
    listed = figures("list", "full", "fp32", model, tmp_path, "four")
    assert len(listed["first_logps"]) == 2 * 6 * PROMPTS
    assert listed["first_logps"] == pytest.approx(pairs["first_logps"], rel=1e-5)
    assert listed["losses"] == pytest.approx(pairs["losses"], rel=1e-5)
    assert max(abs(loss - listed["losses"][0]) for loss in listed["losses"]) > 5e-4
