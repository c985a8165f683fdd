"""One training step of the CUDA path, traced on fake tensors: `python -m tests.gpu_path.trace 1b hh 64 full mixed`.

The step is `PreferenceModule.training_step` with its backward, and the step of the optimizer. The tensors are fake ones
of the device `cpu`, since a torch without CUDA has no backward on `cuda`; what the code chooses for CUDA is forced.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map_only

from dpo_lightning import LoRA, PreferenceModule, TokenizedExample, collate_tree
from dpo_lightning.logprobs import scorer, tiling
from dpo_lightning.logprobs.transform import HeadProbe, LogitTransform
from dpo_lightning.policy import lora, prepare
from dpo_lightning.policy.beside_text import OtherParts
from dpo_lightning.reference import adapter, hooks, identity, models
from dpo_lightning.training.parameters import make_optimizer
from tests.gpu_path.meter import Meter, Sum

PRODUCTS_A_SECOND = 780e12  # bf16 on one H200, of large products
BYTES_A_SECOND = 4.1e12

SHAPES = {
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "tie_word_embeddings": True},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "tie_word_embeddings": False},
}
HEADS = {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256}


class Lengths(NamedTuple):
    """Tokens of a prompt and of its two completions."""

    prompt: int
    chosen: int
    rejected: int


PROFILES = {"hh": Lengths(124, 41, 51), "uf": Lengths(200, 300, 280), "long": Lengths(3000, 300, 300)}


@dataclass(frozen=True)
class Case:
    """What is traced.

    Attributes:
        shape: A Llama: `1b` or `8b`.
        profile: Lengths of the pairs: `hh`, `uf` or `long`.
        pairs: Pairs of the micro-batch.
        mode: `full` or `lora`.
        precision: `mixed` or `true`, of bfloat16.
        layers: Layers instead of the shape's own.
        checkpointing: Whether activations are computed again in the backward.
        module: Further arguments of `PreferenceModule`.
    """

    shape: str = "1b"
    profile: str = "hh"
    pairs: int = 64
    mode: str = "full"
    precision: str = "mixed"
    layers: int | None = None
    checkpointing: bool = False
    module: tuple[tuple[str, Any], ...] = ()

    @property
    def lightning_precision(self) -> str:
        """Return Lightning's name of the precision."""
        return f"bf16-{self.precision}"


class Traced(NamedTuple):
    """What a step comes to.

    Attributes:
        phases: Sums by phase.
        saved: Bytes that the forward keeps for the backward, of the policy and its head.
        peak: The most bytes beside what was there before: weights, the batch and the optimizer's state.
        weights: Bytes of the weights, of policy and reference.
        meter: All operations.
    """

    phases: dict[str, Sum]
    saved: int
    peak: int
    weights: int
    meter: Meter

    @property
    def total(self) -> Sum:
        """Return the sum of all phases."""
        whole = Sum()
        for operation in self.meter.operations:
            whole.add(operation)
        return whole


def trace(case: Case) -> Traced:
    """Trace one step."""
    meter = Meter()
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        # A copied tensor would have a mode of its own, and torch mixes none.
        stack.enter_context(patch.object(FakeTensorMode, "__deepcopy__", lambda mode, _: mode, create=True))
        stack.enter_context(patch.object(nn.Module, "to", _converted))
        fake = stack.enter_context(FakeTensorMode())
        module = _module(case)
        weights = {id(each): each for model in _models(module) for each in model.parameters()}
        batch = _batch(case, fake)
        optimizer = make_optimizer(module._optimizer, module)
        for group in optimizer.param_groups:
            group["foreach"] = None if group.get("fused") else True
        stack.enter_context(cuda_choices())
        stack.enter_context(phases(module, meter))
        with meter:
            with torch.autocast("cpu", torch.bfloat16, enabled=case.precision == "mixed"), meter.part("loss"):
                loss = module.training_step(batch, 0)
            saved = meter.live
            with meter.part("loss"):
                loss.backward()
        optimizer.step()  # the first one makes its state
        with meter, meter.part("optimizer"):
            optimizer.step()
            optimizer.zero_grad()
    size = sum(each.numel() * each.element_size() for each in weights.values())
    return Traced(meter.sums(), saved, max(meter.peak.values()), size, meter)


def _models(module: PreferenceModule[Any]) -> list[nn.Module]:
    return [module.policy, *module.reference.own_models()]


def _module(case: Case) -> PreferenceModule[Any]:
    """Build policy and reference, of fake weights."""
    adapters = LoRA(r=16, alpha=32) if case.mode == "lora" else None
    settings = dict(case.module)
    with ExitStack() as stack:
        stack.enter_context(without_values())
        stack.enter_context(patch.object(hooks, "Place", lambda: models.Place(case.lightning_precision)))
        module: PreferenceModule[Any] = PreferenceModule(
            llama(case), lora=adapters, gradient_checkpointing=case.checkpointing, **settings
        )
        module.configure_model()
    return module


def llama(case: Case) -> nn.Module:
    """Build a Llama of the case's shape, without drawing weights."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    shape = {**SHAPES[case.shape], **({} if case.layers is None else {"num_hidden_layers": case.layers})}
    config = LlamaConfig(**shape, **HEADS, use_cache=False, attn_implementation="sdpa")
    dtype = torch.float32 if case.precision == "mixed" else torch.bfloat16
    with patch("torch.nn.init.normal_", lambda tensor, *_, **__: tensor):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def _batch(case: Case, fake: FakeTensorMode) -> Any:
    prompt, chosen, rejected = PROFILES[case.profile]
    pairs = [TokenizedExample.pair(row, [1] * prompt, [2] * chosen, [3] * rejected) for row in range(case.pairs)]
    with _disable_current_modes():
        batch = collate_tree(pairs)
    return tree_map_only(Tensor, fake.from_tensor, batch)


def _converted(model: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
    """Give the parameters of a module another dtype, in place of `nn.Module.to`, which cannot for fake tensors."""
    dtype = torch._C._nn._parse_to(*args, **kwargs)[1]
    for each in model.modules():
        for name, weight in each._parameters.items():
            if dtype is not None and weight is not None and weight.is_floating_point() and weight.dtype != dtype:
                each._parameters[name] = nn.Parameter(weight.detach().to(dtype), weight.requires_grad)
    return model


@contextmanager
def without_values() -> Iterator[None]:
    """Leave out, inside the block, what reads the values of weights, or tries the model, before a run."""
    with (
        patch.object(models, "policy_start", lambda _: {}),
        patch.object(identity, "sampled", lambda _: {}),
        patch.object(prepare, "other_parts", lambda *_, **__: OtherParts({}, {})),
        patch.object(prepare, "check_causal", lambda *_: None),
        patch.object(models, "check_plain", lambda *_: None),
        patch.object(lora, "_check_initialisation", lambda *_: None),
        patch.object(adapter, "moves_base", lambda *_: False),
    ):
        yield


@contextmanager
def cuda_choices() -> Iterator[None]:
    """Let the code choose inside the block what it chooses on CUDA."""
    large = replace(tiling.TILING, cpu_logits=tiling.TILING.logits)
    with (
        patch.object(FakeTensor, "is_cuda", True),
        patch.object(tiling.Tiling, "tile_logits", lambda *_: large.logits),
        patch.object(scorer, "_probe", lambda model, *_: HeadProbe(LogitTransform(), HEADS["vocab_size"])),
    ):
        yield


@contextmanager
def phases(module: PreferenceModule[Any], meter: Meter) -> Iterator[None]:
    """Tell the meter the part of the step that is under way: the body and the head, of reference, policy, backward."""

    def under(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            with meter.part(name):
                return function(*args, **kwargs)

        return run

    def enter(name: str) -> Callable[[Tensor], None]:
        def at_gradient(_: Tensor) -> None:
            meter.phase = name

        return at_gradient

    through = scorer.logps_through

    def scored_through(*args: Any, **kwargs: Any) -> Callable[[Tensor, Tensor], Any]:
        score = through(*args, **kwargs)

        def marked(hidden: Tensor, targets: Tensor) -> Any:
            with meter.part(meter.phase.replace("body", "head")):
                result = score(hidden, targets)
            if hidden.requires_grad:
                hidden.register_hook(enter("backward body"))
                result.logps.register_hook(enter("backward head"))
            return result

        return marked

    with (
        patch.object(module.reference, "token_logps", under("reference body", module.reference.token_logps)),
        patch.object(module.models, "scored", under("policy body", module.models.scored)),
        patch.object(scorer, "logps_through", scored_through),
    ):
        yield


def table(traced: Traced) -> str:
    """Return the phases as a table, one a line, with the roofline's milliseconds."""
    lines = [f"{'phase':16}{'launches':>9}{'TFLOP':>9}{'elementwise GB':>16}{'ms':>8}{'waits':>7}{'peak GB':>9}"]
    rows = [*traced.phases.items(), ("total", traced.total)]
    for name, each in rows:
        time = (each.flops / PRODUCTS_A_SECOND + each.elementwise / BYTES_A_SECOND) * 1e3
        peak = traced.peak if name == "total" else traced.meter.peak.get(name, 0)
        lines.append(
            f"{name:16}{each.launches:9}{each.flops / 1e12:9.2f}{each.elementwise / 1e9:16.2f}{time:8.1f}"
            f"{len(each.waits):7}{peak / 1e9:9.2f}"
        )
    lines.append(f"weights {traced.weights / 1e9:.2f} GB, kept for the backward {traced.saved / 1e9:.2f} GB")
    lines += [f"the host waits at {place}" for place in traced.total.waits]
    return "\n".join(lines)


def _operations(traced: Traced, most: int) -> str:
    """Return the operations that move most, by phase."""
    sums: dict[tuple[str, str], Sum] = {}
    for each in traced.meter.operations:
        sums.setdefault((each.phase, each.name), Sum()).add(each)
    largest = sorted(sums.items(), key=lambda item: -item[1].elementwise)[:most]
    return "\n".join(
        f"{phase:16}{name:36}{each.launches:7}{each.elementwise / 1e9:10.3f} GB" for (phase, name), each in largest
    )


def main() -> None:
    """Print the table of one case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("profile", choices=PROFILES)
    parser.add_argument("pairs", type=int)
    parser.add_argument("mode", choices=("full", "lora"))
    parser.add_argument("precision", choices=("mixed", "true"))
    parser.add_argument("--layers", type=int)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--operations", type=int, default=0, help="also the operations that move most")
    given = vars(parser.parse_args())
    most = given.pop("operations")
    traced = trace(Case(**given))
    print(table(traced))
    if most:
        print(_operations(traced, most))


if __name__ == "__main__":
    main()
