"""Whole runs on a device: every way to train that has something of its own there."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.optim import AdamW

from dpo_lightning import LoRA, PreferenceModule
from dpo_lightning.compat import torch_compile
from dpo_lightning.errors import InputError
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy import fused_layers as fused_layer_module
from dpo_lightning.policy.fused_layers import fused_layers
from dpo_lightning.policy.low_rank_layers import JointLinear
from tests.attention.rows import relative
from tests.gpu.devices import every, moved
from tests.helpers.runs import Losses, data, module, saved_model, trainer
from tests.helpers.tiny import tiny_llama
from tests.policy.common import BATCH
from tests.policy.test_narrow_base import adapted

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:bitsandbytes"),
    pytest.mark.filterwarnings("ignore:You are using `torch.load` with"),
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
]
FULL, ADAPTED = None, LoRA(r=4)
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")


class Compiled(pl.Callback):
    """Counts the layers that run compiled; after a run, a model that was given has its own again."""

    layers = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.layers = len(fused_layers(pl_module.policy))


def compiled(run: pl.Trainer) -> bool:
    """Whether layers ran compiled in a run of `fitted`."""
    return any(callback.layers for callback in run.callbacks if isinstance(callback, Compiled))


def fitted(
    path: Path,
    model: PreferenceModule,
    device: torch.device,
    ckpt_path: str | None = None,
    also: Sequence[pl.Callback] = (),
    **settings: Any,
) -> tuple[pl.Trainer, list[float]]:
    """A run, in bf16-mixed unless told otherwise, and the losses of its steps."""
    torch.manual_seed(0)  # new adapters are drawn at the start
    recorder = Losses()
    own = {"accelerator": "gpu" if device.type == "cuda" else "cpu", "precision": "bf16-mixed", "max_steps": 6}
    run = trainer(callbacks=[recorder, Compiled(), *also], **{**own, **settings})
    run.fit(model, data(path), ckpt_path=ckpt_path)
    return run, recorder.losses


@contextmanager
def fresh_graphs() -> Iterator[None]:
    """Compile anew inside the block, as a new process does, and leave nothing compiled behind."""
    forget_graphs()
    try:
        yield
    finally:
        forget_graphs()


def forget_graphs() -> None:
    torch._dynamo.reset()
    fused_layer_module._fused_class.cache_clear()


def test_the_default_optimizer_is_fused_on_a_gpu(tmp_path: Path, device: torch.device) -> None:
    run, _ = fitted(tmp_path, PreferenceModule(tiny_llama()), device, max_steps=1)
    assert bool(run.optimizers[0].param_groups[0]["fused"]) == (device.type == "cuda")


def test_a_run_starts_at_ln_2_and_learns(tmp_path: Path, device: torch.device) -> None:
    _, losses = fitted(tmp_path, module(lr=1e-2), device, precision="bf16-true", max_steps=12)
    assert losses[0] == pytest.approx(math.log(2), abs=1e-3)
    assert losses[-1] < 0.6


@every(
    "lora, precision, algorithm",
    [FULL, ADAPTED],
    ["bf16-mixed", "16-mixed"],
    ["norm", "value"],
    cpu=[(ADAPTED, "bf16-mixed", "norm")],
)
def test_a_fused_optimizer_and_clipping(
    device: torch.device, lora: LoRA | None, precision: str, algorithm: str, tmp_path: Path
) -> None:
    """Under mixed precision Lightning refuses to clip beside a fused optimizer; the module does it itself."""

    def losses(clip: float | None, **kernel: bool) -> list[float]:
        # No AdamW: it hardly notices the length of a gradient but at its epsilon.
        optimizer = partial(AdamW, lr=1.0, eps=1.0, weight_decay=0.0, **kernel)
        clipping: dict[str, Any] = {"gradient_clip_val": clip, "gradient_clip_algorithm": algorithm}
        return fitted(tmp_path, module(lora=lora, optimizer=optimizer), device, precision=precision, **clipping)[1]

    clip = 0.01 if algorithm == "norm" else 1e-4
    fused, plain, unclipped = losses(clip, fused=True), losses(clip, foreach=True), losses(None, fused=True)
    assert fused == pytest.approx(plain, abs=2e-3)
    assert abs(unclipped[-1] - fused[-1]) > 5e-3


@every("recomputed, lora", [True, "selective", "offload"], [FULL, ADAPTED], cpu=[("selective", ADAPTED)])
def test_activations_that_are_not_kept_make_the_same_run(
    recomputed: bool | str, lora: LoRA | None, tmp_path: Path, device: torch.device
) -> None:
    _, kept = fitted(tmp_path, module(lora=lora, lr=1e-2), device)
    model = module(lora=lora, gradient_checkpointing=recomputed, lr=1e-2)
    try:
        _, again = fitted(tmp_path, model, device)
    except InputError as error:  # an older transformers has no place in the host's memory
        pytest.skip(str(error))
    assert again == pytest.approx(kept, abs=0.02)
    assert kept[-1] < kept[0] - 0.02


@every(
    "lora, recomputed, precision",
    [FULL, ADAPTED],
    [False, True],
    ["bf16-mixed", "bf16-true"],
    cpu=[(FULL, False, "bf16-mixed")],
)
def test_fused_layers_make_the_same_run(
    device: torch.device,
    lora: LoRA | None,
    recomputed: bool,
    precision: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a CPU the graphs run as they were captured: its compiler takes too long here, and has tests of its own."""
    if device.type == "cpu":
        monkeypatch.setattr(torch_compile, "fixed_kernels", "eager")
    own: dict[str, Any] = {"lora": lora, "gradient_checkpointing": recomputed, "lr": 1e-2}
    settings: dict[str, Any] = {"precision": precision, "max_steps": 4, "limit_val_batches": 0}
    _, plain = fitted(tmp_path, module(fused_layers="none", **own), device, **settings)
    with fresh_graphs():
        run, fused = fitted(tmp_path, module(fused_layers="compile", **own), device, **settings)
    assert fused == pytest.approx(plain, abs=0.01)
    assert fused[0] == pytest.approx(math.log(2), abs=1e-3)
    assert compiled(run)


@every("lora", [FULL, ADAPTED], cpu=[(FULL,)])
def test_layers_that_are_fused_by_default_go_on_bit_for_bit(
    device: torch.device, lora: LoRA | None, tmp_path: Path
) -> None:
    """A GPU compiles them in half precision, anew in each process, for whatever batch comes first."""

    def went(steps: int, ckpt_path: str | None = None) -> tuple[PreferenceModule, pl.Trainer]:
        model = module(lora=lora, lr=1e-2)
        settings: dict[str, Any] = {"max_steps": steps, "deterministic": device.type == "cuda"}
        try:
            with fresh_graphs():
                trainer, _ = fitted(tmp_path, model, device, ckpt_path, **settings)
        finally:
            torch.use_deterministic_algorithms(False)
        assert compiled(trainer) == (device.type == "cuda")
        return model, trainer

    whole, _ = went(4)
    _, half = went(2)
    half.save_checkpoint(tmp_path / "half.ckpt")
    again, _ = went(4, str(tmp_path / "half.ckpt"))
    assert all(map(torch.equal, again.policy.state_dict().values(), whole.policy.state_dict().values()))


class QueryWeights(pl.Callback):
    """Keeps the dtypes of the first layer's query weights under its adapter, while it trains."""

    def __init__(self) -> None:
        self.dtypes: set[torch.dtype] = set()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        layer = pl_module.policy.get_submodule("base_model.model.model.layers.0.self_attn.q_proj.base_layer")
        self.dtypes.add(layer.weight.dtype)


def test_adapters_in_mixed_precision_stand_beside_a_narrow_base(tmp_path: Path, device: torch.device) -> None:
    given = tiny_llama().bfloat16().float()
    model = module(policy=given, lora=LoRA(r=4), lr=1e-2)
    seen = QueryWeights()
    _, losses = fitted(tmp_path, model, device, max_steps=12, also=[seen])

    assert losses[0] == pytest.approx(math.log(2), abs=1e-3)
    assert losses[-1] < losses[0] - 0.05
    trained = [weight for weight in model.policy.parameters() if weight.requires_grad]
    assert {weight.dtype for weight in trained} == {torch.float32}
    assert seen.dtypes == {torch.bfloat16}


def test_joint_products_of_adapters_are_near_those_of_peft(device: torch.device) -> None:
    from peft.tuners.lora import Linear

    policy = adapted("bf16-mixed").to(device).train()
    other = copy.deepcopy(policy)
    for layer in other.modules():
        if isinstance(layer, JointLinear):
            layer.__class__ = Linear
    found = []
    for model in (policy, other):
        with torch.autocast(device.type, torch.bfloat16):
            logps = TokenScorer(model)(moved(BATCH, device)).logps
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        found.append((logps, torch.cat([each.flatten() for each in torch.autograd.grad(logps.sum(), trained)])))

    assert sum(isinstance(layer, JointLinear) for layer in policy.modules()) == 2 * 7
    for ours, theirs in zip(*found, strict=True):
        assert relative(ours, theirs.double()) < 2.0**-4


def test_four_bit_weights_under_adapters(tmp_path: Path, device: torch.device) -> None:
    pytest.importorskip("bitsandbytes")
    path = saved_model(tmp_path / "model", hidden_size=64, intermediate_size=64)
    settings = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    model = module(policy=path, lora=LoRA(r=4), quantization_config=settings, lr=1e-2)
    _, losses = fitted(tmp_path, model, device, precision="bf16-true", max_steps=12)

    assert losses[0] == pytest.approx(math.log(2), abs=1e-3)
    assert losses[-1] < losses[0] - 0.05
    assert any(weight.dtype == torch.uint8 for weight in model.policy.parameters())
    assert not any(isinstance(layer, JointLinear) for layer in model.policy.modules())  # bitsandbytes has its own


@every("precision, lora", PRECISIONS, [FULL, ADAPTED], cpu=[("bf16-mixed", ADAPTED)])
def test_fsdp2_with_one_rank_makes_the_run_without_it(
    precision: str, lora: LoRA | None, tmp_path: Path, device: torch.device
) -> None:
    losses = []
    try:
        for strategy in ("auto", ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=1)):
            settings = {"precision": precision, "strategy": strategy, "gradient_clip_val": 1.0, "max_steps": 3}
            losses.append(fitted(tmp_path, module(lora=lora, lr=1e-2), device, **settings)[1])
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    assert losses[1] == pytest.approx(losses[0], abs=1e-4 if precision == "32-true" else 0.02)


@every("precision, lora", PRECISIONS, [FULL, ADAPTED], cpu=[("bf16-mixed", ADAPTED), ("bf16-true", FULL)])
def test_a_run_that_goes_on_is_the_same_bit_for_bit(
    precision: str, lora: LoRA | None, tmp_path: Path, device: torch.device
) -> None:
    """In the middle of an epoch; the attention kernel of a GPU adds in any order unless it is told not to."""
    settings = {"precision": precision, "deterministic": device.type == "cuda"}
    whole, first, second = (module(lora=lora, lr=1e-2) for _ in range(3))
    try:
        _, expected = fitted(tmp_path, whole, device, **settings)
        run, before = fitted(tmp_path, first, device, max_steps=3, **settings)
        run.save_checkpoint(tmp_path / "half.ckpt")
        _, after = fitted(tmp_path, second, device, str(tmp_path / "half.ckpt"), **settings)
    finally:
        torch.use_deterministic_algorithms(False)

    assert [*before, *after] == expected
    for (name, ours), theirs in zip(second.policy.named_parameters(), whole.policy.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
