"""A self-test that finds out on a model whether the tree layout is right for it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
from jaxtyping import Float
from lightning.pytorch.utilities import move_data_to_device
from torch import Tensor, nn

from dpo_lightning.attention.interface import TreeError, layout_inputs, use_tree_attention
from dpo_lightning.batch import TokenizedExample, collate_tree, sequence_order
from dpo_lightning.utils.tensors import device_of
from dpo_lightning.utils.text import one_line
from dpo_lightning.utils.torch_modes import evaluating

_logger = logging.getLogger(__name__)

# Long enough for every short-range mechanism to reach from one branch into the other.
_SEGMENTS = ((14, 9, 6), (11, 5, 10))
# Of the logits' size. Rounding stays far below in float32; in half precision it reaches a few epsilon.
_ACCURACY = {torch.float16: 0.02, torch.bfloat16: 0.06}
_ACCURACY_OTHERWISE = 1e-3
# What cannot be seen changes nothing, in any precision; an expert's batch is the only way to see others' rounding.
_ISOLATION = {torch.float16: 1e-3, torch.bfloat16: 1e-3}
_ISOLATION_OTHERWISE = 1e-5


def tree_problem(model: nn.Module) -> str | None:
    """Try a tree of two random pairs: its branches must not see each other, and score as separate sequences do.

    What goes wrong in a packed row goes wrong silently: recurrent states flow from branch to branch, ALiBi and
    GPT-Neo's windows count physical positions, and some models never call a registered attention.

    Args:
        model: A causal language model, in any mode, on any device.

    Returns:
        None when the layout is right; otherwise one line with the reason.

    Raises:
        torch.OutOfMemoryError: when two short pairs do not fit beside the model.
    """
    if problem := use_tree_attention(model) or _counts_physical_positions(model):
        return problem
    device = device_of(model)
    devices = [device] if device.type == "cuda" else []
    pairs = _random_pairs(model)
    with torch.no_grad(), evaluating(model), torch.random.fork_rng(devices):
        expected = [_alone(model, prompt, completion, device) for prompt, completion in _sequences(pairs)]
        if not all(logits.isfinite().all() for logits in expected):
            return "its logits are not finite"
        try:
            row = _in_tree(model, pairs, device)
            other_row = _in_tree(model, [_with_other_chosen(pair) for pair in pairs], device)
        except TreeError as error:
            return error.problem
        except torch.OutOfMemoryError:  # which the padded layout would meet too, and later
            raise
        except Exception as error:  # a model that was not made for these arguments may raise anything
            return _failed(error, device)
    return _difference(pairs, row, other_row, expected)


def _failed(error: Exception, device: torch.device) -> str:
    """Return an error in one line, and log it as one where it is a kernel's: those of a GPU run nowhere else."""
    problem = f"{type(error).__name__} in its forward: {one_line(error, 200)}"
    if device.type != "cpu":
        _logger.error(
            "THE TREE LAYOUT DOES NOT RUN ON THIS %s, by an error and not by a wrong result: %s. Batches in the padded "
            "layout compute every prompt twice: look at the versions of torch and transformers",
            device.type.upper(),
            problem,
        )
    return problem


def _difference(pairs: list[TokenizedExample], row: Tensor, other_row: Tensor, expected: list[Tensor]) -> str | None:
    dtype = row.dtype
    if not (row.isfinite().all() and other_row.isfinite().all()):  # before comparisons, which are false of NaN
        return "its logits are not finite in a packed row"
    if _leak(row, other_row) > _ISOLATION.get(dtype, _ISOLATION_OTHERWISE):
        return "a rejected completion changes with the chosen one beside it"
    batch = collate_tree(pairs)
    found = row[batch.predict_index.to(row.device)].split(batch.lengths.tolist())
    errors = [_typical_error(one, other) for one, other in zip(found, expected, strict=True)]
    if max(errors) > _ACCURACY.get(dtype, _ACCURACY_OTHERWISE):
        return "the logits differ from those of separate sequences"
    return None


def _counts_physical_positions(model: nn.Module) -> str | None:
    """Find a fault that a short row hides: Llama 4 scales its queries by their place in the row, from token 8192 on."""
    configs = (getattr(module, "config", None) for module in model.modules())
    if any(getattr(config, "attn_temperature_tuning", False) for config in configs):
        return "the attention temperature depends on the place in the row (attn_temperature_tuning)"
    return None


def _random_pairs(model: nn.Module) -> list[TokenizedExample]:
    tables = [module.num_embeddings for module in model.modules() if isinstance(module, nn.Embedding)]
    is_asked = hasattr(model, "get_input_embeddings")  # a module around a model need not say it
    vocabulary = model.get_input_embeddings().weight.shape[0] if is_asked else min(tables, default=2)  # type: ignore[operator]
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> list[int]:
        return torch.randint(vocabulary, (count,), generator=generator).tolist()

    return [
        TokenizedExample.pair(number, draw(prompt), draw(chosen), draw(rejected))
        for number, (prompt, chosen, rejected) in enumerate(_SEGMENTS)
    ]


def _with_other_chosen(pair: TokenizedExample) -> TokenizedExample:
    """Return the tokens in another order: the last one first."""
    chosen, rejected = pair.completion_ids
    return pair._replace(completion_ids=[[*chosen[-1:], *chosen[:-1]], rejected])


def _sequences(pairs: list[TokenizedExample]) -> Iterator[tuple[list[int], list[int]]]:
    yield from ((pairs[example].prompt_ids, pairs[example].branches[k]) for example, k in sequence_order(pairs))


def _alone(model: nn.Module, prompt: list[int], completion: list[int], device: torch.device) -> Float[Tensor, "C V"]:
    """Return the logits that predict the completion, from a plain forward."""
    logits = model(input_ids=torch.tensor([prompt + completion], device=device)).logits[0]
    return logits[len(prompt) - 1 : -1]


def _in_tree(model: nn.Module, pairs: list[TokenizedExample], device: torch.device) -> Float[Tensor, "L V"]:
    """Logits of the whole row."""
    batch = move_data_to_device(collate_tree(pairs), device)
    with layout_inputs(model, batch) as inputs:
        return model(**inputs).logits[0]


def _leak(row: Tensor, other_row: Tensor) -> float:
    """Return the relative change of the logits outside the chosen completions."""
    segments = torch.tensor([length for lengths in _SEGMENTS for length in lengths])
    is_chosen = torch.tensor([False, True, False] * len(_SEGMENTS)).repeat_interleave(segments)
    outside = (~is_chosen).to(row.device)
    before, after = row[outside].double(), other_row[outside].double()
    return ((after - before).norm() / before.norm()).item()


def _typical_error(found: Float[Tensor, "C V"], expected: Float[Tensor, "C V"]) -> float:
    """Return the median over positions of the relative error: rounding may send a token to another expert."""
    found, expected = found.double(), expected.double()
    sizes = (expected - expected.mean(-1, keepdim=True)).norm(dim=-1)
    return ((found - expected).norm(dim=-1) / sizes).median().item()
