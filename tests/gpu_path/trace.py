"""One training step of the CUDA path, traced on fake tensors: `python -m tests.gpu_path.trace 1b hh 64 full mixed`.

The step is the second one of a `Trainer.fit` with a `PreferenceModule` and its own callbacks, from the batch of the
host to the optimizer; nothing is logged in it. `fake` is what stands in for a GPU, `meter` what counts.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from unittest.mock import patch

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader

from dpo_lightning import LoRA, PreferenceModule, TokenizedExample, collate_tree
from dpo_lightning.logprobs import scorer
from tests.gpu_path.fake import Copies, cuda_choices, fake_tensors, moved, without_values
from tests.gpu_path.meter import Meter, Sum

PRODUCTS_A_SECOND = 780e12  # of large products in bf16 on one H200
ATTENTION_A_SECOND = 330e12  # of FlashAttention 2 there
BYTES_A_SECOND = 4.1e12
TRACED = 1  # the first step makes the optimizer's state

SHAPES: dict[str, dict[str, Any]] = {
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "tie_word_embeddings": True},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "tie_word_embeddings": False},
}
VOCABULARY = 128_256
HEADS = {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": VOCABULARY}


class Lengths(NamedTuple):
    """Tokens of a prompt and of its two completions."""

    prompt: int
    chosen: int
    rejected: int

    @property
    def visible(self) -> int:
        """Return the pairs of a query and a key that it sees, in a tree."""
        first = self.prompt + self.chosen
        return first * (first + 1) // 2 + self.rejected * self.prompt + self.rejected * (self.rejected + 1) // 2


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
        module: Further arguments of `PreferenceModule`.
        trainer: Further arguments of `Trainer`.
    """

    shape: str = "1b"
    profile: str = "hh"
    pairs: int = 64
    mode: str = "full"
    precision: str = "mixed"
    layers: int | None = None
    module: tuple[tuple[str, Any], ...] = ()
    trainer: tuple[tuple[str, Any], ...] = ()


class Traced(NamedTuple):
    """What a step comes to.

    Attributes:
        meter: Its operations.
        phases: Their sums, by phase.
        saved: Bytes that the forward keeps for the backward, of the policy and its head.
        peaks: The most bytes, by phase, beside weights, batch and the optimizer's state.
        held: Bytes of weights, of policy and reference, and of the optimizer's state.
        copies: Copies that brought the batch to the device.
    """

    meter: Meter
    phases: dict[str, Sum]
    saved: int
    peaks: dict[str, int]
    held: int
    copies: Copies

    @property
    def total(self) -> Sum:
        """Return the sum of all phases."""
        whole = Sum()
        for operation in self.meter.operations:
            whole.add(operation)
        return whole


def trace(case: Case) -> Traced:
    """Trace one step."""
    meter = Meter(PROFILES[case.profile].visible * case.pairs)
    with warnings.catch_warnings(), _quiet(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        mode = stack.enter_context(fake_tensors())
        stack.enter_context(without_values())
        lora = LoRA(r=16, alpha=32) if case.mode == "lora" else None
        settings = {"step_zero_check": False, **dict(case.module)}
        module: PreferenceModule[Any] = PreferenceModule(llama(case), lora=lora, **settings)
        stack.enter_context(cuda_choices(VOCABULARY))
        watch = Watch(meter)
        trainer = _trainer(case, stack.enter_context(tempfile.TemporaryDirectory()), watch)
        move = module.transfer_batch_to_device
        copies: list[Copies] = []

        def transfer(batch: Any, device: torch.device, number: int) -> Any:
            there, made = moved(batch, lambda given, place: move(given, place, number), mode)
            copies.append(made)
            return there

        stack.enter_context(patch.object(module, "transfer_batch_to_device", transfer))
        stack.enter_context(watch.phases(module, trainer))
        with meter:
            trainer.fit(module, DataLoader(range(TRACED + 2), collate_fn=lambda numbers: _batch(case, *numbers)))
    return Traced(meter, meter.sums(), watch.saved, watch.peaks, watch.held, copies[TRACED])


def _trainer(case: Case, directory: str, watch: Watch) -> pl.Trainer:
    settings = {"logger": False, "log_every_n_steps": 50, **dict(case.trainer)}
    quiet = dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return pl.Trainer(
        accelerator="cpu",
        precision=f"bf16-{case.precision}",  # type: ignore[arg-type]
        max_steps=TRACED + 2,
        max_epochs=1,
        callbacks=[watch],
        default_root_dir=directory,
        **{**quiet, **settings},
    )


def llama(case: Case) -> nn.Module:
    """Build a Llama of the case's shape, without drawing weights."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    shape = {**SHAPES[case.shape], **({} if case.layers is None else {"num_hidden_layers": case.layers})}
    config = LlamaConfig(**shape, **HEADS, use_cache=False, attn_implementation="sdpa")
    with patch("torch.nn.init.normal_", lambda tensor, *_, **__: tensor):
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def _batch(case: Case, number: int) -> Any:
    """Make the batch of a step; of those that are not traced, a small one."""
    prompt, chosen, rejected = PROFILES[case.profile]
    pairs = case.pairs if number == TRACED else 1
    with _disable_current_modes():
        return collate_tree(
            [TokenizedExample.pair(row, [1] * prompt, [2] * chosen, [3] * rejected) for row in range(pairs)]
        )


@contextmanager
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


class Watch(pl.Callback):
    """Tells the meter which part of a step is under way, and keeps it to the step that is traced.

    The parts are the body and the head of reference, policy and backward; the loss; the guard, with the norm and the
    clipping; the optimizer; and the rest of Lightning's loop.

    Attributes:
        saved: Bytes that the forward leaves for the backward.
        peaks: The most bytes of each part, beside weights, batch and the optimizer's state.
        held: Bytes of these weights and that state.
    """

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.saved = self.held = self._before = 0
        self.peaks: dict[str, int] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the weights out of what the step allocates."""
        models = [pl_module, *pl_module.reference.own_models()]
        weights = {id(each): each for model in models for each in (*model.parameters(), *model.buffers())}
        self.meter.ignore(weights.values())
        self.held = sum(each.numel() * each.element_size() for each in weights.values())

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin to count, or stop."""
        if batch_idx == TRACED:
            # Lightning holds a step's gradients until the backward of the next one.
            gradients = [each.grad for each in pl_module.parameters() if each.grad is not None]
            self._before = self.meter.live - sum(each.untyped_storage().nbytes() for each in gradients)
            state = tree_leaves([list(each.state.values()) for each in trainer.optimizers])
            self.held += sum(each.numel() * each.element_size() for each in state if isinstance(each, Tensor))
            self.meter.begin("rest")
        elif batch_idx == TRACED + 1:
            self.peaks = {phase: peak - self._before for phase, peak in self.meter.peak.items()}
            self.meter.stop()

    @contextmanager
    def phases(self, module: PreferenceModule[Any], trainer: pl.Trainer) -> Iterator[None]:
        """Name the parts inside the block."""
        setup = module.on_fit_start
        with ExitStack() as stack:

            def under(name: str, owner: Any, attribute: str) -> None:
                function = getattr(owner, attribute)

                def run(*args: Any, **kwargs: Any) -> Any:
                    with self.meter.part(name):
                        return function(*args, **kwargs)

                stack.enter_context(patch.object(owner, attribute, run))

            def on_fit_start() -> None:  # the models are built by now
                under("reference body", module.reference, "token_logps")
                under("policy body", module.models, "scored")
                setup()

            forward = trainer.strategy.training_step

            def training_step(*args: Any) -> Any:
                before = self.meter.live
                loss = forward(*args)
                self.saved = self.meter.live - before if trainer.global_step == TRACED else self.saved
                return loss

            stack.enter_context(patch.object(trainer.strategy, "training_step", training_step))
            # Lightning leaves out the rest of the batches where this hook returns -1.
            stop = {"side_effect": lambda _, number: -1 if number > TRACED else None}
            stack.enter_context(patch.object(module, "on_train_batch_start", **stop))
            under("optimizer", trainer.strategy, "optimizer_step")
            under("loss", trainer.strategy, "training_step")
            under("loss", trainer.strategy, "backward")
            under("guard", trainer.strategy.precision_plugin, "_after_closure")
            stack.enter_context(patch.object(module, "on_fit_start", on_fit_start))
            stack.enter_context(patch.object(scorer, "logps_through", self._headed(scorer.logps_through)))
            yield

    def _headed(self, through: Callable[..., Any]) -> Callable[..., Any]:
        """Let the head count apart: its forward, and by hooks on its ends its backward."""

        def enter(name: str) -> Callable[[Tensor], None]:
            def at_gradient(_: Tensor) -> None:
                self.meter.phase = name

            return at_gradient

        def scored_through(*args: Any, **kwargs: Any) -> Callable[[Tensor, Tensor], Any]:
            score = through(*args, **kwargs)

            def marked(hidden: Tensor, targets: Tensor) -> Any:
                with self.meter.part(self.meter.phase.replace("body", "head")):
                    result = score(hidden, targets)
                if hidden.requires_grad:
                    hidden.register_hook(enter("backward body"))
                    result.logps.register_hook(enter("backward head"))
                return result

            return marked

        return scored_through


def milliseconds(each: Sum) -> float:
    """Return the time of the roofline: products and attention at their rates, and everything else's bytes."""
    attention = each.attention / ATTENTION_A_SECOND
    return (each.flops / PRODUCTS_A_SECOND + attention + each.elementwise / BYTES_A_SECOND) * 1e3


def table(traced: Traced) -> str:
    """Return the phases as a table, one a line, with the roofline's milliseconds; memory beside weights and state."""
    lines = [f"{'phase':16}{'launches':>9}{'TFLOP':>9}{'elementwise GB':>16}{'ms':>8}{'waits':>7}{'peak GB':>9}"]
    for name, each in [*traced.phases.items(), ("total", traced.total)]:
        peak = traced.peaks.get(name, max(traced.peaks.values()))
        lines.append(
            f"{name:16}{each.launches:9}{each.flops / 1e12:9.2f}{each.elementwise / 1e9:16.2f}"
            f"{milliseconds(each):8.1f}{len(each.waits):7}{peak / 1e9:9.2f}"
        )
    copies = traced.copies
    lines.append(f"kept for the backward: {traced.saved / 1e9:.2f} GB")
    lines.append(f"batch: {copies.count} copies, {copies.bytes} bytes, the host waits for {copies.blocking}")
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
    parser.add_argument("--clip", type=float, help="the Trainer's gradient_clip_val")
    parser.add_argument("--operations", type=int, default=0, help="also the operations that move most")
    given = vars(parser.parse_args())
    most, clip, again = (given.pop(name) for name in ("operations", "clip", "checkpointing"))
    module = (("gradient_checkpointing", True),) if again else ()
    traced = trace(Case(**given, module=module, trainer=(("gradient_clip_val", clip),)))
    print(table(traced))
    if most:
        print(_operations(traced, most))


if __name__ == "__main__":
    main()
