"""What the functions over private names do, with the releases that are installed."""

from __future__ import annotations

import io
import pickle
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from datasets import Dataset
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torchmetrics import SumMetric

from dpo_lightning import PreferenceModule
from dpo_lightning.compat import jsonargparse as patterns
from dpo_lightning.compat.bitsandbytes import keep_quantized_backward
from dpo_lightning.compat.datasets import fingerprint
from dpo_lightning.compat.huggingface_hub import work_offline
from dpo_lightning.compat.lightning import class_only, cluster_environment
from dpo_lightning.compat.lightning_checkpoints import (
    FindsLast,
    datamodule_key,
    dump_checkpoint,
    intercept_loading,
    writes_shards,
)
from dpo_lightning.compat.torch import (
    SHARD_METADATA_TYPES,
    check_archive,
    forward_replaced,
    has_own_forward,
    non_persistent_buffers,
    softmax_gradient,
)
from dpo_lightning.compat.torchmetrics import Float32Metric, set_update_count
from dpo_lightning.compat.transformers import (
    attention_implementation,
    own_attention,
    own_mask,
    tensor_plan,
    unsplit_classes,
)
from dpo_lightning.errors import InputError
from dpo_lightning.utils.processes import end_with_parent
from dpo_lightning.utils.trainers import attached_trainer
from tests.helpers.runs import data, module, trainer
from tests.helpers.shards import save_tensors
from tests.helpers.tiny import tiny_llama


def test_the_last_checkpoint_is_asked_of_the_callback(tmp_path: Path) -> None:
    class Finds(FindsLast):
        def last_checkpoint(self, trainer: pl.Trainer) -> Path | None:
            return tmp_path / "here.ckpt"

    (tmp_path / "here.ckpt").write_text("no checkpoint")
    fit = trainer(callbacks=[Finds(tmp_path / "saved")], enable_checkpointing=True)
    with pytest.raises(InputError, match=r"here.ckpt: it is no whole torch checkpoint"):
        fit.fit(module(), data(tmp_path), ckpt_path="last")
    assert ModelCheckpoint(tmp_path)._find_last_checkpoints(trainer()) == set()


def test_a_dumped_checkpoint_is_the_saved_one(tmp_path: Path) -> None:
    fit = trainer(max_steps=1)
    fit.fit(module(), data(tmp_path))
    fit.save_checkpoint(tmp_path / "saved.ckpt")
    saved = torch.load(tmp_path / "saved.ckpt", weights_only=True)
    assert dump_checkpoint(fit).keys() == saved.keys()
    assert datamodule_key(fit.datamodule) in saved
    assert cluster_environment(fit) is not None


@pytest.mark.parametrize("shards", [True, False])
def test_a_strategy_that_shards_is_known(shards: bool) -> None:
    assert writes_shards(ModelParallelStrategy(save_distributed_checkpoint=shards)) is shards
    assert not writes_shards(trainer().strategy)


def test_loading_goes_through_what_is_put_around_it_once() -> None:
    strategy, seen = trainer().strategy, []
    for _ in range(2):
        intercept_loading(strategy, lambda load, path, **options: seen.append((path, options)))
    strategy.load_checkpoint("a.ckpt", weights_only=True)
    assert seen == [("a.ckpt", {"weights_only": True})]


def test_a_class_method_is_not_called_on_an_instance() -> None:
    class Loads:
        @class_only
        def load(cls) -> type:  # noqa: N805 - a classmethod
            return cls

    assert Loads.load() is Loads
    with pytest.raises(TypeError, match="cannot be called on an instance"):
        Loads().load()
    with pytest.raises(TypeError, match="cannot be called on an instance"):
        module().load_from_checkpoint("a.ckpt")


def test_a_module_by_itself_has_no_trainer(tmp_path: Path) -> None:
    model, fit = module(), trainer(max_steps=1)
    assert attached_trainer(model) is None
    fit.fit(model, data(tmp_path))
    assert attached_trainer(model) is fit
    assert isinstance(PreferenceModule.device_mesh, property)


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


def test_an_attention_has_a_name_a_function_and_a_mask() -> None:
    model: Any = tiny_llama()
    model.set_attn_implementation("eager")
    assert attention_implementation(model) == "eager"
    layer = model.model.layers[0].self_attn
    assert own_attention("eager", layer).__module__ == type(layer).__module__
    assert callable(own_mask("sdpa"))


def test_a_model_says_how_it_is_split() -> None:
    model: Any = tiny_llama()
    assert unsplit_classes(model) == {"LlamaDecoderLayer"}
    assert unsplit_classes(nn.Linear(2, 2)) == set()
    plan = tensor_plan(model)
    assert plan["model.layers.0.self_attn.q_proj"] == "colwise"


def test_the_gradient_of_a_softmax_is_that_of_autograd() -> None:
    scores = torch.randn(3, 5, requires_grad=True)
    probabilities = scores.softmax(-1)
    gradient = torch.randn(3, 5)
    (expected,) = torch.autograd.grad(probabilities, scores, gradient)
    torch.testing.assert_close(softmax_gradient(gradient, probabilities.detach(), torch.float32), expected)


def test_an_archive_that_is_cut_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "a.pt")
    check_archive(tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:-1])
    with pytest.raises(RuntimeError):
        check_archive(tmp_path / "a.pt")


def test_the_metadata_of_shards_holds_known_names_only(tmp_path: Path) -> None:
    save_tensors({"state_dict": {"a": torch.ones(2)}, "optimizer_0": {"lr": 1.0, "step": [1]}}, tmp_path)
    names = []

    class Notes(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            names.append((module, name))
            return super().find_class(module, name)

    Notes(io.BytesIO((tmp_path / ".metadata").read_bytes())).load()
    assert {"_StorageInfo", "_get_layout", "_MEM_FORMAT_ENCODING"} <= {name for _, name in names}
    assert all(name in SHARD_METADATA_TYPES.get(where, ()) for where, name in names), names


def test_buffers_that_are_not_saved_are_known() -> None:
    plain = nn.Module()
    plain.register_buffer("kept", torch.ones(1))
    plain.register_buffer("lost", torch.ones(1), persistent=False)
    assert non_persistent_buffers(plain) == {"lost"} == {"kept", "lost"} - plain.state_dict().keys()


def test_a_replaced_forward_runs_with_the_hooks_and_is_taken_back() -> None:
    layer, calls = nn.Linear(2, 2), []
    layer.register_forward_hook(lambda *_: calls.append("hook"))
    with forward_replaced(layer, lambda value: value + 1):
        assert has_own_forward(layer)
        assert layer(torch.zeros(1)) == 1
    assert calls == ["hook"]
    assert not has_own_forward(layer)


def test_a_module_converts_inside_its_own_context() -> None:
    model: Any = module()
    model.configure_model()
    assert {buffer.dtype for buffer in model.bfloat16().policy.buffers()} == {torch.float32}
    assert next(model.policy.parameters()).dtype == torch.bfloat16


def test_a_metric_counts_its_updates_and_stays_float32() -> None:
    metric = SumMetric()
    set_update_count(metric, 3)
    assert metric.update_count == 3

    class Sums(Float32Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("total", torch.zeros(1), dist_reduce_fx="sum")

        def update(self) -> None: ...

        def compute(self) -> None: ...

    both = nn.ModuleList([Sums()]).to(torch.bfloat16)
    assert both[0].total.dtype == torch.float32


def test_rows_have_a_hash_that_follows_their_content() -> None:
    rows = Dataset.from_dict({"a": [1, 2]})
    assert fingerprint(rows) == fingerprint(Dataset.from_dict({"a": [1, 2]}))
    assert fingerprint(rows) != fingerprint(rows.map(lambda row: {"a": row["a"] + 1}))


def test_offline_work_is_seen_by_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(sys.modules["datasets"].config, "HF_HUB_OFFLINE", False)
    assert not huggingface_hub.is_offline_mode()
    work_offline()
    assert huggingface_hub.is_offline_mode()
    assert sys.modules["datasets"].config.HF_HUB_OFFLINE


def test_a_quantized_layer_says_whether_it_repacks() -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = bitsandbytes.nn.Linear4bit(64, 64)
    assert layer.support_avx512bf16_for_cpu in (True, False)
    layer.support_avx512bf16_for_cpu = True
    keep_quantized_backward(nn.Sequential(layer))
    assert layer.support_avx512bf16_for_cpu is False


def test_a_process_can_be_tied_to_its_parent() -> None:
    from tests.helpers.saved import forked, reports

    assert reports(*forked(lambda report: report(str(end_with_parent())))) == ["None"]


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
