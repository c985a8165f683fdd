"""Compiled layers compute what the layers compute, with few graphs; names, copies and other forwards stay."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch._dynamo.utils import counters

from dpo_lightning import LoRA
from dpo_lightning.batch import PreferenceBatch, TokenizedExample, collate_padded, collate_tree
from dpo_lightning.compat import torch_compile
from dpo_lightning.errors import InputError, RunError
from dpo_lightning.logprobs import TokenScorer
from dpo_lightning.policy import fused_layers, source
from dpo_lightning.policy.fused_layers import asks_to_fuse, fuse_layers, fusing_problem
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from dpo_lightning.policy.source import PolicySource
from tests.helpers import runs
from tests.helpers.tiny import tiny_llama
from tools.docs.architecture_models import tiny_model

PLAIN = PolicyOptions()
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Graphs that run as they were captured: inductor takes seconds for each."""
    monkeypatch.setattr(torch_compile, "fixed_kernels", "eager")
    forget()
    yield
    forget()


def forget() -> None:
    torch._dynamo.reset()
    counters.clear()
    fused_layers._fused_class.cache_clear()


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


def breaks() -> int:
    return sum(counters["graph_break"].values())


def batch(pairs: int, longer: int, collate: Callable[..., PreferenceBatch] = collate_tree) -> PreferenceBatch:
    rows = [TokenizedExample.pair(n, [1] * (4 + longer), [2, 9, 3], [3] * (2 + n)) for n in range(pairs)]
    return collate(rows)


def policy(options: PolicyOptions = PLAIN, layers: int = 2) -> nn.Module:
    model = tiny_llama(num_hidden_layers=layers)
    built = build_policy(model, torch.float32, options)
    if options.fused_layers == "compile":
        fuse_layers(built, strict=True)
    return built


def scored(model: nn.Module, over: PreferenceBatch) -> tuple[Tensor, Tensor]:
    """Log-probs, and gradients of the trained weights."""
    logps = TokenScorer(model)(over).logps
    trained = [each for each in model.parameters() if each.requires_grad]
    return logps.detach(), torch.cat([each.flatten() for each in torch.autograd.grad(logps.sum(), trained)])


@pytest.mark.parametrize(
    ("options", "collate"),
    [
        (PolicyOptions(gradient_checkpointing=True), collate_padded),
        (PolicyOptions(lora=LoRA(r=2)), collate_tree),
        (PolicyOptions(lora=LoRA(r=2), gradient_checkpointing=True), collate_tree),
    ],
    ids=["padded, checkpointed", "lora", "lora, checkpointed"],
)
def test_few_graphs_serve_all_layers_and_lengths(options: PolicyOptions, collate: Any) -> None:
    model = policy(options, layers=3)
    plain = copy.deepcopy(model)
    fuse_layers(model, strict=True)
    found, seen = [], []
    for pairs, longer in ((2, 0), (3, 1), (1, 9), (5, 2)):
        over = batch(pairs, longer, collate)
        for compiled, eager in zip(scored(model, over), scored(plain, over), strict=True):
            assert torch.equal(compiled, eager)
        seen.append(graphs())
        found.append(breaks())
    # The input of the first layer may need no gradient, and sizes that are equal by chance make a graph of their own.
    in_parts = 2 if collate is collate_tree else 1  # the tree's attention, which is not compiled, is between them
    assert in_parts <= seen[0] <= 2 * in_parts + 1
    assert found == [found[0]] * 4
    assert (0 < found[0] <= seen[0] // 2) if collate is collate_tree else found[0] == 0
    assert seen[1:] == [seen[1]] * 3
    assert seen[1] <= 2 * seen[0]


def test_a_mode_adds_its_graphs_once() -> None:
    model = policy(PolicyOptions(lora=LoRA(r=2), fused_layers="compile"))
    wrapped: Any = model
    seen = []
    for pairs in (2, 3, 4):
        over = batch(pairs, pairs)
        trained = scored(model, over)[0]
        with torch.no_grad(), wrapped.disable_adapter():
            reference = TokenScorer(model)(over).logps
        model.eval()
        with torch.no_grad():
            evaluated = TokenScorer(model)(over).logps
        model.train()
        assert torch.equal(trained, reference)  # a new adapter is a no-op
        assert torch.equal(trained, evaluated)
        seen.append(graphs())
    assert seen == [seen[0]] * 3
    assert seen[0] <= 10
    with torch.no_grad():
        next(each for name, each in model.named_parameters() if "lora_B" in name).fill_(0.5)
    with torch.no_grad(), wrapped.disable_adapter():
        assert torch.equal(TokenScorer(model)(over).logps, reference)
    assert not torch.equal(scored(model, over)[0], trained)
    assert graphs() == seen[0]


@pytest.mark.filterwarnings("ignore:LlamaForCausalLM does more to its logits")  # a head of zeros tells a probe nothing
def test_copies_and_pickles_are_compiled_and_their_own() -> None:
    model = policy(PolicyOptions(fused_layers="compile"))
    over, names = batch(2, 0), list(policy().state_dict())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert len(fused_layers.fused_layers(other)) == 2
        assert list(other.state_dict()) == names
        with torch.no_grad():
            for each in other.parameters():
                each.zero_()
        assert scored(other, over)[0] == pytest.approx(torch.full((11,), -torch.tensor(64.0).log().item()))
    assert not torch.equal(scored(model, over)[0], scored(other, over)[0])


def test_only_scoring_is_compiled() -> None:
    model, plain = policy(PolicyOptions(fused_layers="compile")), policy()
    ids = torch.tensor([[1, 2, 3]])
    for each in (model, plain):
        each.eval()
    assert torch.equal(model(input_ids=ids).logits, plain(input_ids=ids).logits)
    generated = [each.generate(ids, max_new_tokens=3, do_sample=False, use_cache=True) for each in (model, plain)]  # type: ignore[operator]
    assert torch.equal(*generated)
    assert graphs() == 0


@pytest.mark.parametrize(
    ("setting", "precision", "device", "there", "asked"),
    [
        ("auto", "bf16-mixed", CUDA, True, True),
        ("auto", "16-true", CUDA, True, True),
        ("auto", "bf16-true", CUDA, False, False),
        ("auto", "32-true", CUDA, True, False),
        ("auto", "transformer-engine", CUDA, True, False),
        ("auto", "bf16-true", CPU, True, False),
        ("auto", None, CPU, True, False),
        ("compile", "32-true", CPU, False, True),
        ("none", "bf16-mixed", CUDA, True, False),
    ],
)
def test_where_layers_are_fused(
    monkeypatch: pytest.MonkeyPatch, setting: Any, precision: Any, device: torch.device, there: bool, asked: bool
) -> None:
    monkeypatch.setattr(fused_layers, "has_gpu_compiler", lambda: there)
    assert asks_to_fuse(setting, precision, device) is asked


@pytest.mark.parametrize(
    ("architecture", "problem"),
    [
        ("mixtral", "which expert a token takes"),
        ("mamba", "it has recurrent layers"),
        ("jamba", "it has recurrent"),
    ],
)
def test_models_that_it_does_not_fit(
    architecture: str, problem: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(architecture)
    with pytest.raises(InputError, match=f"^model.fused_layers: compile does not fit this model, since {problem}"):
        fuse_layers(model, strict=True)
    said: list[str] = []
    monkeypatch.setattr(fused_layers, "rank_zero_info", said.append)
    fuse_layers(model, strict=False)
    assert [line.partition(", since ")[2][: len(problem)] for line in said] == [problem]
    assert not fused_layers.fused_layers(model)


def test_a_layer_whose_products_checkpointing_keeps_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(fused_layers, "rank_zero_info", said.append)
    options = PolicyOptions(gradient_checkpointing="selective")
    monkeypatch.setattr(source, "asks_to_fuse", lambda *_: True)  # as on a GPU
    model = PolicySource(tiny_llama(), options).build("32-true", CPU)
    assert not fused_layers.fused_layers(model)
    assert len(said) == 1
    assert "since gradient_checkpointing: selective keeps products, which a compiled layer does not show" in said[0]
    with pytest.raises(InputError, match=r"^model.fused_layers: compile does not fit this model, since .*selective"):
        PolicySource(tiny_llama(), replace(options, fused_layers="compile")).build("32-true", CPU)


def test_quantized_layers_and_plain_modules_are_left_out() -> None:
    model = tiny_llama()
    model.is_quantized = True
    assert "quantized" in str(fusing_problem(model))
    assert "no decoder layers" in str(fusing_problem(nn.Linear(2, 2)))
    assert fusing_problem(tiny_llama()) is None


def test_layers_that_cannot_be_compiled_run_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise ValueError("no compiler")

    monkeypatch.setattr(torch_compile, "fixed_kernels", fails)
    said: list[str] = []
    monkeypatch.setattr(fused_layers, "rank_zero_warn", said.append)
    model, plain, over = policy(), policy(), batch(2, 0)
    fuse_layers(model, strict=False)
    for _ in range(2):
        assert torch.equal(scored(model, over)[0], scored(plain, over)[0])
    assert len(said) == 1
    assert said[0].startswith("LlamaDecoderLayer cannot be compiled here (")

    strict = policy(PolicyOptions(fused_layers="compile"))
    with pytest.raises(RunError, match=r"no compiler.*: set it to none$"):
        scored(strict, over)


@pytest.mark.parametrize("strategy", ["auto", "sharded"])
def test_a_run_is_the_one_without(tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")  # Lightning sets them: gone after the test
        monkeypatch.delenv(name)
    lora = None if strategy == "sharded" else LoRA(r=2, dropout=0.1)
    trained = []
    for fused in ("none", "compile"):
        torch.manual_seed(0)
        settings = {"lora": lora, "gradient_checkpointing": True, "fused_layers": fused}
        module = runs.module(tiny_llama(), **settings)
        way = ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=1) if strategy == "sharded" else "auto"
        trainer = runs.trainer(max_steps=2, precision="bf16-mixed", strategy=way, num_sanity_val_steps=0)
        trainer.fit(module, runs.data(tmp_path))
        trained.append(module.whole_policy().state_dict())
    assert list(trained[0]) == list(trained[1])
    assert all(torch.equal(one, other) for one, other in zip(trained[0].values(), trained[1].values(), strict=True))
    assert graphs() > 0
