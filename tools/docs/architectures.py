"""Measures each architecture's layout and writes the table: `python -m tools.docs.architectures`."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from dpo_lightning.attention import tree_problem
from dpo_lightning.batch import Collate, collate_padded, collate_tree
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from tools.docs.architecture_cases import CASES, Case
from tools.docs.architecture_models import VOCAB_SIZE
from tools.docs.layout_errors import Errors, Scores, errors, random_pairs, scores_alone, scores_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "architectures.md"
COLLATE: dict[str, Collate] = {"tree": collate_tree, "padded": collate_padded}
PAIRS = random_pairs(VOCAB_SIZE)

INTRODUCTION = """\
# Architectures and layouts

A batch of pairs reaches the model in one of two layouts. `tree` is one packed row `[P₀ C₀ R₀ P₁ C₁ R₁ …]`: each
prompt once, no padding, and an attention in which chosen and rejected completion both continue their prompt and see
nothing else. `padded` is right-padded rows `[2P, L]`, with the prompt in both of a pair: right for every causal
model, and more work. `layout: auto` tries the tree on the loaded model, with random tokens: against separate
forwards, and with other chosen completions, which must not change anything else. Where that fails, or where the model
does not use transformers' attention interface, it takes `padded` and says why.

The table is measured on tiny random models of each architecture, in float64 and train mode, in the layout that `auto`
chooses: two pairs (prompts of 14 and 11 tokens, completions of 9 and 6, 5 and 10; windows and chunks of 8) against four
forwards of the unchanged model, one per completion, without padding. *Log-probs* is the largest error of a completion
token's log-prob in nats, *gradients* the largest error of any parameter's gradient over the largest gradient. Errors
above 1e-12 come from models that compute norms, rotations or scores in float32 whatever their dtype is. Gradient
checkpointing changes none of it, and `padded` is as exact for the architectures that get the tree.

Written by `python -m tools.docs.architectures`; `tests/attention/test_architectures.py` holds it up to date.

"""
_HEADER = """\
| architecture | `model_type` | what its attention does | layout | why not `tree` | log-probs | gradients |
|---|---|---|---|---|---|---|
"""
_BOUNDS = (1e-12, 1e-6, 1e-5)


class Result(NamedTuple):
    """The layout that `auto` takes, why it is not the tree, and how far it is from separate forwards."""

    layout: str
    problem: str | None
    errors: Errors


def measure(case: Case, *, layout: str | None = None, gradient_checkpointing: bool = False) -> Result:
    """Score two pairs in the layout that fits the model, or in a given one, of which nothing is asked."""
    model = build_policy(case.model(), torch.float64, PolicyOptions(gradient_checkpointing=gradient_checkpointing))
    problem = tree_problem(model) if layout is None else None
    layout = layout or ("tree" if problem is None else "padded")
    return Result(layout, problem, errors(scores_of(model, COLLATE[layout](PAIRS)), alone(case.name)))


@cache
def alone(name: str) -> Scores:
    """Score each completion of a case's model by itself; once, since all layouts are held against the same."""
    (case,) = (case for case in CASES if case.name == name)
    return scores_alone(build_policy(case.model(), torch.float64, PolicyOptions()), PAIRS)


def known_cells(case: Case, result: Result) -> str:
    """Return a row without its errors: what is the same on every machine."""
    reason = re.sub(r" by [\d.e+-]+ of their size", "", result.problem or "")
    return f"| {case.name} | `{case.model_type}` | {case.features} | {result.layout} | {reason} |"


def table() -> str:
    """Return the document; measures every case, which takes some minutes."""
    rows = []
    for case in CASES:
        result = measure(case)
        rows.append(
            f"{known_cells(case, result)} {_bound(result.errors.forward)} | {_bound(result.errors.gradients)} |\n"
        )
    return INTRODUCTION + _HEADER + "".join(rows)


def _bound(error: float) -> str:
    return next((f"< {bound:.0e}".replace("e-0", "e-") for bound in _BOUNDS if error < bound), f"**{error:.0e}**")


if __name__ == "__main__":
    torch.set_num_threads(1)
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(table(), encoding="utf-8")
