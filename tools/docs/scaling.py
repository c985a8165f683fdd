"""Writes docs/scaling.md, from the formulas and what `memory_check.py` measured: `python -m tools.docs.scaling`."""

from __future__ import annotations

import inspect
import json
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.memory_check import RESULTS
from dpo_lightning.estimate import GPUS, Mesh, ModelShape, Numerics, State, Workload, memory, model_shape, step
from dpo_lightning.policy.lora import LoRA
from dpo_lightning.policy.prepare import PolicyOptions

DOCUMENT = Path(__file__).parents[2] / "docs" / "scaling.md"
# Hidden size, layers, heads, key/value heads, MLP size, tied embeddings: Llama 3's.
MODELS = {
    "1 B": (2048, 16, 32, 8, 8192, True),
    "8 B": (4096, 32, 32, 8, 14336, False),
    "70 B": (8192, 80, 64, 8, 28672, False),
}
_VOCABULARY, _PROMPT, _COMPLETION = 128_256, 512, 512
_GPU, _UTILIZATION, _SPARE = "H100", 0.4, 0.9
_PAIRS = (64, 32, 16, 8, 4, 2, 1)
_REFERENCES = {"copy": "copy", "other": "another model", "moved": "moving average"}

_INTRODUCTION = """\
# Memory and time of a run

What `dpo-lightning plan` prints for a config, as formulas; how they compare with what is measured; and what follows for
models of 1, 8 and 70 billion parameters. **Nothing here was run on a GPU**: the measurements are from a CPU, the GPU's
figures are its data sheet's, and the plans are computed.

Written by `python -m tools.docs.scaling`; `tests/tools/docs/test_scaling.py` holds it up to date.

## Symbols

| symbol | what | unit |
|---|---|---|
| `w` | a weight: 4 in `32-true` and `bf16-mixed`, 2 in `bf16-true` | bytes |
| `a` | an activation in a matrix product: 2 in `bf16-mixed` and `bf16-true` | bytes |
| `D` `H` `G` `F` `V` | width of the residual stream, all query heads, all key heads, the MLP; vocabulary | elements |
| `L` | tokens of a micro-batch: `b (p + kc)` in the tree layout, `kb (p + c)` padded | tokens |
| `N` | scored tokens, `kbc` | tokens |
| `K` | keys of all sequences, `kb (p + c)` | tokens |
| `A` | pairs of a query and a key that it sees | pairs |
| `M` | parameters of the layers that a token visits | elements |
| `n` `t` `m` | data-parallel ranks, tensor-parallel ranks, micro-batches of an optimizer step | |
| `b` `p` `c` `r` | pairs, tokens of a prompt, of a completion, rank of the adapters | |
| `k` | completions computed of a prompt: 2 of a pair, 1 where only the chosen one is compared | |

## Formulas

Memory of a device is what stays (policy, reference, gradients, optimizer, copies) and the larger of what a forward and
backward (activations, head) or the update of the optimizer (once the trained weights) needs besides. FSDP2 divides what
stays, but for the copies, by `n`; tensor parallelism divides the layers by `t`. AdamW keeps 2 `w` a trained weight,
RMSprop 1 `w`, SGD nothing. The reference is a copy of all weights (`FrozenCopy`), of the adapters (`FrozenAdapter`), or
nothing (`AdapterOff`, `Precomputed`, an objective without one).

"""


class Choice(NamedTuple):
    """A way to train: what is trained, in which precision, against which reference, and how it is spread."""

    trained: str
    precision: str
    reference: str
    mesh: Mesh


class Plan(NamedTuple):
    """The first choice that fits, and the largest micro-batch that fits with it."""

    choice: Choice
    work: Workload
    bytes: float
    flops: float
    sent: step.Sent


def choices(devices: int) -> Iterator[Choice]:
    """Go from what is best to what is smallest: all weights with master weights in float32 before adapters."""
    meshes = [Mesh(devices)] if devices == 1 else [Mesh(devices), Mesh(devices, sharded=True)]
    if devices > 8:
        meshes.append(Mesh(devices // 8, 8, sharded=True))
    for mesh in meshes:
        for reference in ("FrozenCopy", "Precomputed"):
            yield Choice("all", "bf16-mixed", reference, mesh)
    for mesh in meshes:
        yield Choice("LoRA 16", "bf16-true", "AdapterOff", mesh)
    if devices == 1:
        yield Choice("QLoRA 16", "bf16-true", "AdapterOff", Mesh())


@cache
def shape_of(model: str, trained: str) -> ModelShape:
    """Return the sizes of one of `MODELS`."""
    from transformers import LlamaConfig

    hidden, layers, heads, groups, inner, tied = MODELS[model]
    config = LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        intermediate_size=inner,
        vocab_size=_VOCABULARY,
        tie_word_embeddings=tied,
    )
    options = PolicyOptions(
        lora=None if trained == "all" else LoRA(),
        quantization_config={"load_in_4bit": True} if trained.startswith("Q") else None,
        gradient_checkpointing=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        return model_shape(folder, options)


def plan(model: str, devices: int) -> Plan | None:
    """Find the first choice whose smallest micro-batch fits, with its largest."""
    for choice in choices(devices):
        for pairs in _PAIRS:
            found = cost(model, choice, pairs)
            if found.bytes <= _SPARE * GPUS[_GPU].gigabytes * 1e9:
                return found
    return None


def cost(model: str, choice: Choice, pairs: int) -> Plan:
    """Compute what a choice costs."""
    shape = shape_of(model, choice.trained)
    batch = Workload(pairs, _PROMPT, _COMPLETION)
    numerics = Numerics.of(choice.precision, 0.5 + 4 / 64)
    scores = choice.reference != "Precomputed"
    state = State(int(choice.reference == "FrozenCopy"), 0, 2.0, checkpointing=True)
    return Plan(
        choice,
        batch,
        memory.device_memory(shape, batch, numerics, state, choice.mesh, GPUS[_GPU].gigabytes * 1e9).total,
        step.step_flops(shape, batch, state, reference_forward=scores, tensor=choice.mesh.tensor),
        step.step_sent(shape, batch, numerics, state, choice.mesh, reference_forward=scores),
    )


def document() -> str:
    """Return the whole text."""
    return _INTRODUCTION + _formulas() + _measured() + _plans()


def _formulas() -> str:
    functions: list[Callable[..., Any]] = [
        memory.weight_bytes,
        memory.policy_bytes,
        memory.reference_bytes,
        memory.copy_bytes,
        memory.layer_bytes,
        memory.activation_bytes,
        memory.head_bytes,
        step.forward_flops,
        step.head_flops,
        step.step_flops,
        step.step_sent,
    ]
    texts = [f"`{function.__name__}`:\n\n{_code(inspect.getdoc(function) or '')}\n" for function in functions]
    return "\n".join(texts) + "\n"


def _code(text: str) -> str:
    return f"```text\n{textwrap.dedent(text)}\n```"


def _measured() -> str:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    batch = results["batch"]
    rows = "".join(_measured_row(case, _product_speed(results["cases"], case)) for case in results["cases"])
    return f"""\
## Against measurements

`python -m benchmarks.memory_check` trains a step of small random models on a CPU, each in a process of its own, on
{batch["pairs"]} pairs with prompts of {batch["prompt"]} and completions of {batch["completion"]} tokens. The models are
rounded to bfloat16, which most checkpoints are in. It counts the bytes of tensors as operations make them and free
them. Each cell is predicted / measured, in MB. *Static* is policy, reference, gradients and AdamW together; *saved* is
what the graph of a forward holds; *peak* is the most that a forward and backward allocate beside what is static. The
CPU's attention also keeps its probabilities while these are small (16 MiB a layer), which a GPU's does not; the
predicted peak has them, and the head's smaller tiles of a CPU. With checkpointing the predicted peak is a bound from
above: autocast's copies, and all that the head needs, are gone when the first layers are recomputed. *GFLOP* are the
operations of the matrix products of forward and backward, the reference's forward included, as torch counts them.
*Reached* is what the time formula leaves open, its utilisation: the predicted operations in the time of the fastest of
some steps, over the speed of one large matrix product, on one core.

| model | precision | trained | reference | recomputed | layout | static | saved | peak | ratio | GFLOP | reached |
|---|---|---|---|---|---|---|---|---|---|---|---|
{rows}
So small a model leaves much of the time to what is no matrix product; `plan` takes {_UTILIZATION:.0%} unless it is told
otherwise, and `benchmarks/README.md` has what larger steps reach.

"""


def _product_speed(cases: list[dict[str, Any]], alike: dict[str, Any]) -> float:
    """Return a large matrix product's operations a second in a case's dtype: the most seen, other work lowers it."""
    whole = alike["case"]["precision"] == "32-true"
    found = [each["measured"] for each in cases if (each["case"]["precision"] == "32-true") == whole]
    return 1e9 * max(measured["product_gflops"] for measured in found)


def _measured_row(result: dict[str, Any], product_speed: float) -> str:
    case, predicted, measured = result["case"], result["predicted"], result["measured"]
    static = ("weights", "reference", "gradients", "optimizer")
    cells = [
        f"{case['architecture']} {case['size']}",
        f"`{case['precision']}`",
        "LoRA" if case["lora"] else "all",
        _REFERENCES[case["reference"]] if case["reference"] else "adapter off" if case["lora"] else "copy",
        "yes" if case["checkpointing"] else "no",
        "tree" if case["tree"] else "padded",
        _pair(sum(predicted[term] for term in static), sum(measured[term] for term in static)),
        _pair(predicted["saved"], measured["saved"]),
        _pair(predicted["peak"], measured["peak"]),
        f"{predicted['peak'] / measured['peak']:.2f}",
        f"{predicted['flops'] / 1e9:.1f} / {measured['flops'] / 1e9:.1f}",
        f"{predicted['flops'] / measured['seconds'] / product_speed:.0%}",
    ]
    return f"| {' | '.join(cells)} |\n"


def _pair(predicted: float, measured: float) -> str:
    return f"{predicted / 1e6:.1f} / {measured / 1e6:.1f}"


def _plans() -> str:
    rows = "".join(_plan_row(model, devices) for model in MODELS for devices in (1, 8, 64))
    return f"""\
## Plans

For {_GPU} GPUs of {GPUS[_GPU].gigabytes:g} GB, of which a tenth is left free, {_UTILIZATION:.0%} of their peak, eight
to a node, AdamW, gradient checkpointing, the tree layout, and pairs of a prompt of {_PROMPT} and two completions of
{_COMPLETION} tokens. The first that fits of: all weights (float32, computing in bfloat16) with DDP, then sharded with
FSDP2, then with tensor parallelism inside a node, each first with a reference in memory and then with a
precomputed one; adapters; adapters on 4 bits. Then the largest micro-batch of at most 64 pairs. An optimizer step of
one micro-batch (*pairs*); sending is not hidden behind computing, and accumulating makes it rarer under DDP only.

| model | GPUs | trained | strategy | reference | `batch_tokens` | GB a GPU | pairs | s computing | GB sent | sending |
|---|---|---|---|---|---|---|---|---|---|---|
{rows}
What is communicated: under DDP one all-reduce of the trained weights' gradients an optimizer step; under FSDP2 an
all-gather of each layer's weights in the forward and one in the backward, one more where the reference runs the model,
and a reduce-scatter of float32 gradients, for each micro-batch; under tensor parallelism two all-reduces of a layer's
output in each forward and two in the backward. A precomputed reference takes a forward, an all-gather and its memory
out of every step. In the host's memory, rank 0 of a sharded run loads the policy, and beside it the copy that is its
reference, before both are spread; the other ranks load nothing. Where sending takes longer than computing, larger
micro-batches help, and tensor parallelism inside the nodes, which divides the data-parallel traffic by eight.
"""


def _plan_row(model: str, devices: int) -> str:
    found = plan(model, devices)
    if found is None:
        return f"| {model} | {devices} | does not fit | | | | | | | | |\n"
    mesh, device = found.choice.mesh, GPUS[_GPU]
    cells = [
        model,
        str(devices),
        f"{found.choice.trained}, `{found.choice.precision}`",
        _strategy(mesh),
        found.choice.reference,
        f"{found.work.tokens:,}",
        f"{found.bytes / 1e9:.1f}",
        f"{found.work.pairs * mesh.data:,}",
        f"{found.flops / device.half_flops / _UTILIZATION:.2f}",
        f"{(found.sent.data + found.sent.tensor) / 1e9:.1f}",
        f"{found.sent.seconds(device, mesh):.2f}",
    ]
    return f"| {' | '.join(cells)} |\n"


def _strategy(mesh: Mesh) -> str:
    if mesh.devices == 1:
        return "one GPU"
    if not mesh.sharded:
        return "DDP"
    return "FSDP2" if mesh.tensor == 1 else f"FSDP2 × TP {mesh.tensor}"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
