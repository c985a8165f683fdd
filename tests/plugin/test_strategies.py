"""Lightning's strategies of several processes on a preference run, on a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dpo_lightning import LoRA
from tests.helpers import runs
from tests.helpers.tiny import tiny_llama
from tests.policy.test_modality import gemma3

pytestmark = pytest.mark.filterwarnings("ignore")  # threads, forks and workers


@pytest.fixture(autouse=True)
def _no_global_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that Lightning starts take the seed that `seed_everything` of another test has left there."""
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)


def module(path: Path, given: str, lora: LoRA | None):
    torch.manual_seed(0)
    policy = runs.saved_model(path / "model") if given == "name" else tiny_llama(attention_dropout=0.5)
    return runs.module(policy, lora=lora)


def settings(policy) -> tuple[bool, float, bool]:
    return policy.config.use_cache, policy.config.attention_dropout, policy.training


@pytest.mark.parametrize(
    ("strategy", "given", "lora"),
    [
        ("ddp_spawn", "module", None),
        ("ddp_spawn", "name", LoRA(r=2)),
        ("ddp_fork", "module", LoRA(r=2)),
        ("ddp_fork", "name", None),
        ("ddp_notebook", "name", LoRA(r=2)),
        ("ddp_fork_find_unused_parameters_true", "module", None),
    ],
    ids=str,
)
def test_started_processes_make_the_run_of_one(run, tmp_path, strategy, given, lora):
    alone = run(module=module(tmp_path, given, lora))
    model = module(tmp_path, given, lora)
    together = run(module=model, data=runs.data(tmp_path, batch_pairs=2), strategy=strategy, devices=2)
    for name in ("train/loss", "val/loss", "train/grad_norm"):
        assert together.metrics[name] == pytest.approx(alone.metrics[name], rel=1e-4)
    if given == "module":
        assert settings(model.policy) == (True, 0.5, True)
    (values,) = runs.trainer().validate(model, runs.data(tmp_path), verbose=False)
    assert values["val/loss"] == pytest.approx(alone.metrics["val/loss"], rel=1e-4)
    weights = zip(alone.module.parameters(), model.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in weights)


@pytest.mark.parametrize("lora", [None, LoRA(r=2)], ids=["full", "lora"])
def test_a_multimodal_model_trains_on_text_in_two_processes(run, tmp_path, lora):
    metrics = []
    for settings in ({}, {"strategy": "ddp_fork", "devices": 2}):
        torch.manual_seed(0)
        pairs = runs.data(tmp_path, batch_pairs=4 // settings.get("devices", 1))
        model = runs.module(gemma3(), lora=lora)
        metrics.append(run(module=model, data=pairs, max_epochs=1, **settings).metrics)
    for name in ("train/loss", "val/loss", "train/grad_norm"):
        assert metrics[1][name] == pytest.approx(metrics[0][name], rel=1e-3)
