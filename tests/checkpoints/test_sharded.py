"""Directories of shards are read whole, and as plain data only."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from dpo_lightning.checkpoints.sharded import consolidated, is_sharded_checkpoint, refuse_code
from dpo_lightning.errors import InputError
from tests.helpers.shards import save_tensors, write_shards


class Touch:
    """Not data: unpickling it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


@pytest.fixture
def checkpoint() -> dict[str, Any]:
    weights = {"a.weight": torch.randn(3, 2), "a.bias": torch.randn(3), "b.weight": torch.randn(2, 2).bfloat16()}
    model = torch.nn.ParameterList([weights["a.weight"], weights["b.weight"], weights["a.bias"]])
    optimizer = torch.optim.AdamW([{"params": [model[0], model[1]]}, {"params": [model[2]], "weight_decay": 0.0}])
    for parameter in model:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return {
        "state_dict": weights,
        "optimizer_states": [optimizer.state_dict()],
        "loops": {"fit_loop": {"state_dict": {}}},
        "global_step": 3,
    }


@pytest.fixture
def shards(checkpoint: dict[str, Any], tmp_path: Path) -> Path:
    return write_shards(checkpoint, tmp_path / "step=3.ckpt")


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) and one.dtype == other.dtype if isinstance(one, torch.Tensor) else one == other


def test_all_that_was_saved_comes_back(checkpoint, shards):
    assert is_sharded_checkpoint(shards)
    assert same(consolidated(shards), checkpoint)


def test_plain_shards_are_not_refused(shards):
    refuse_code(shards)


@pytest.mark.parametrize("place", [".metadata", "meta.pt", "an optimizer's setting"])
@pytest.mark.parametrize("read", [consolidated, refuse_code])
def test_code_is_refused_wherever_it_is(place, read, checkpoint, shards, tmp_path):
    trace = tmp_path / "trace"
    if place == ".metadata":
        metadata = pickle.loads((shards / place).read_bytes())
        metadata.planner_data["x"] = Touch(trace)
        (shards / place).write_bytes(pickle.dumps(metadata))
    elif place == "meta.pt":
        torch.save({**torch.load(shards / place), "x": Touch(trace)}, shards / place)
    else:
        state = {"state_dict": checkpoint["state_dict"], "optimizer_0": {"param_groups": [{"lr": Touch(trace)}]}}
        save_tensors(state, shards)
    with pytest.raises(InputError, match=f"checkpoint {shards} cannot be read as plain data: .*: take another one"):
        read(shards)
    assert not trace.exists()


def test_the_danger_is_real(tmp_path):
    pickle.loads(pickle.dumps(Touch(tmp_path / "trace")))
    assert (tmp_path / "trace").exists()
    (tmp_path / "trace").unlink()
    torch.save(Touch(tmp_path / "trace"), buffer := io.BytesIO())
    buffer.seek(0)
    torch.load(buffer, weights_only=False)
    assert (tmp_path / "trace").exists()


def test_other_directories_and_lost_shards_are_named(shards, tmp_path):
    with pytest.raises(InputError, match=r"is no directory of shards: .*: give a file, or"):
        consolidated(tmp_path)
    next(shards.glob("*.distcp")).unlink()
    with pytest.raises(InputError, match="cannot be read as plain data"):
        consolidated(shards)
