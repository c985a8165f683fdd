"""Whether the tree layout is right for a model: tried on the model itself."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from dpo_lightning.attention.interface import layout_inputs, use_tree_attention
from dpo_lightning.batch import TokenizedPair
from dpo_lightning.collate import collate_tree
from dpo_lightning.modes import evaluating

# Long enough for every short-range mechanism to reach from one branch into the other.
_SEGMENTS = ((14, 9, 6), (11, 5, 10))
_TOLERANCE = 1e-3
"""Largest accepted relative difference of the logits in float32; a leak gives more than 2e-3 on random weights."""
_HALF_PRECISION_STEPS = 8
"""In half precision, rounding alone gives a few times the dtype's epsilon."""


def tree_problem(model: nn.Module) -> str | None:
    """Compare a tree of two random pairs with four separate forwards of their sequences.

    What goes wrong in a packed row goes wrong silently: recurrent states flow from branch to branch, ALiBi and
    GPT-Neo's windows count physical positions, and some models never call a registered attention.

    Args:
        model: A causal language model, in any mode, on any device.

    Returns:
        None when the layout is right; otherwise one line with the reason.
    """
    if problem := use_tree_attention(model):
        return problem
    device = next(model.parameters()).device
    devices = [device] if device.type == "cuda" else []
    pairs = _random_pairs(model)
    with torch.no_grad(), evaluating(model), torch.random.fork_rng(devices):
        expected = [_alone(model, prompt, completion, device) for prompt, completion in _sequences(pairs)]
        try:
            found = _in_tree(model, pairs, device)
        except Exception as error:  # a model that was not made for these arguments may raise anything
            return f"{type(error).__name__} in its forward: {' '.join(str(error).split())[:200]}"
    difference = max(_relative_difference(one, other) for one, other in zip(found, expected, strict=True))
    tolerance = max(_TOLERANCE, _HALF_PRECISION_STEPS * torch.finfo(expected[0].dtype).eps)
    if difference <= tolerance:
        return None
    return f"its logits differ from those of separate sequences by {difference:.1e} of their size"


def _random_pairs(model: nn.Module) -> list[TokenizedPair]:
    vocabulary = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> list[int]:
        return torch.randint(vocabulary, (count,), generator=generator).tolist()

    return [TokenizedPair(number, *map(draw, lengths)) for number, lengths in enumerate(_SEGMENTS)]


def _sequences(pairs: list[TokenizedPair]) -> Iterator[tuple[list[int], list[int]]]:
    yield from ((pair.prompt_ids, pair.chosen_ids) for pair in pairs)
    yield from ((pair.prompt_ids, pair.rejected_ids) for pair in pairs)


def _alone(model: nn.Module, prompt: list[int], completion: list[int], device: torch.device) -> Float[Tensor, "C V"]:
    """Logits that predict the completion, from a plain forward."""
    logits = model(input_ids=torch.tensor([prompt + completion], device=device)).logits[0]
    return logits[len(prompt) - 1 : -1]


def _in_tree(model: nn.Module, pairs: list[TokenizedPair], device: torch.device) -> tuple[Float[Tensor, "C V"], ...]:
    """The same of each sequence, from one forward of the tree."""
    batch = collate_tree(pairs)
    lengths = batch.lengths.tolist()
    batch = tree_map_only(Tensor, lambda tensor: tensor.to(device), batch)
    with layout_inputs(model, batch) as inputs:
        logits = model(**inputs).logits[0]
    return logits.index_select(0, batch.predict_index).split(lengths)


def _relative_difference(one: Tensor, other: Tensor) -> float:
    one, other = one.double(), other.double()
    return ((one - other).norm() / (other - other.mean()).norm()).item()
