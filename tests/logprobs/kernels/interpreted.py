"""The Triton head on a CPU: errors of many cases against float64, measured in a process of its own.

Triton decides when it is imported whether its kernels are interpreted, so `TRITON_INTERPRET=1` must be set before.
"""

from __future__ import annotations

import json
import random
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

from dpo_lightning.logprobs import Statistic
from dpo_lightning.logprobs.kernels import choice, fused
from dpo_lightning.logprobs.linear import linear_logps
from dpo_lightning.logprobs.tiling import Tiling
from dpo_lightning.logprobs.transform import LogitTransform

TRANSFORMS = (LogitTransform(), LogitTransform(0.25), LogitTransform(softcap=3.0), LogitTransform(2.0, 3.0))
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Case(NamedTuple):
    """Sizes and settings of a head, and what is trained of hidden states, weight and bias."""

    tokens: int
    vocabulary: int
    width: int
    dtype: str
    weights: str
    transform: LogitTransform
    trained: tuple[bool, bool, bool]
    columns: int
    rows: int
    kept: int
    size: float = 1.0
    """Of the logits, about."""


def random_cases(count: int) -> dict[str, Case]:
    draw = random.Random(0)
    found = {}
    for number in range(count):
        dtype = draw.choice([*DTYPES])
        tokens, vocabulary, columns = draw.randint(1, 9), draw.randint(1, 90), draw.choice([16, 32])
        trained = draw.choice([(True, True, True), (True, True, False), (True, False, False), (False, True, True)])
        found[f"random {number}"] = Case(
            tokens,
            vocabulary,
            draw.randint(1, 40),
            dtype,
            draw.choice([dtype, "float32"]),
            draw.choice(TRANSFORMS),
            trained,
            columns,
            draw.choice([4, 8]),
            draw.choice([0, 2**30]),
        )
    return found


FULL = (True, True, True)
CASES = {
    "one token of one": Case(1, 1, 8, "bfloat16", "bfloat16", TRANSFORMS[0], FULL, 16, 16, 2**30),
    "all at once": Case(8, 60, 8, "float32", "float32", TRANSFORMS[3], FULL, 64, 32, 2**30),
    "some kept": Case(18, 60, 8, "float32", "float32", TRANSFORMS[3], FULL, 32, 16, 16 * 96 * 4),
    "nothing kept": Case(8, 70, 8, "float32", "float32", TRANSFORMS[3], FULL, 32, 4, 0),
    "wider than a block of weights": Case(2, 40, 1500, "float32", "float32", TRANSFORMS[0], FULL, 16, 16, 0),
    "large": Case(8, 50, 8, "float32", "float32", TRANSFORMS[0], FULL, 16, 16, 0, size=1e4),
    **random_cases(8),
}


Leaves = list[Tensor]
"""Hidden states, weight and bias."""


def inputs_of(case: Case) -> tuple[Leaves, Tensor]:
    """Leaves with logits that rise towards the end of the vocabulary, so that the shift moves; and targets."""
    generator = torch.Generator().manual_seed(zlib.crc32(repr(case).encode()))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    hidden = normal(case.tokens, case.width).to(DTYPES[case.dtype])
    weight = (case.size * normal(case.vocabulary, case.width) / case.width**0.5).to(DTYPES[case.weights])
    bias = (2 * case.size * torch.linspace(-1, 1, case.vocabulary)).to(DTYPES[case.weights])
    return [hidden, weight, bias], torch.randint(case.vocabulary, (case.tokens,), generator=generator)


def nearly_certain() -> tuple[Leaves, Tensor]:
    """Logits 8 of the target and 0 or 1 of others, which bfloat16 holds: probabilities of 0.99 and more."""
    targets = torch.arange(6) % 5 * 7
    raw = (torch.arange(40) % 2).repeat(6, 1).scatter(1, targets[:, None], 8)
    basis = torch.eye(6)
    return [each.bfloat16() for each in (basis, raw.T.contiguous(), torch.zeros(40))], targets


def weighted(logps: Tensor) -> Tensor:
    return (logps.double() * torch.linspace(-1, 2, len(logps), dtype=torch.float64)).sum()


def exact(case: Case, leaves: Leaves, targets: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Log-probs, collisions and gradients by the plain formula in float64, of the numbers that the products see."""
    narrow = DTYPES[case.dtype]
    doubles = [leaf.detach().to(narrow if number < 2 else leaf.dtype).double() for number, leaf in enumerate(leaves)]
    chosen = [double.requires_grad_() for double, trained in zip(doubles, case.trained, strict=True) if trained]
    hidden, weight, bias = doubles
    logps = case.transform(hidden @ weight.T + bias).log_softmax(-1)
    picked = logps.gather(1, targets[:, None])[:, 0]
    gradients = torch.autograd.grad(weighted(picked), chosen)
    return picked.detach(), logps.exp().square().sum(-1).log().detach(), list(gradients)


def relative(found: Tensor, expected: Tensor) -> float:
    """Error as a part of the size; of a gradient that vanishes, as a part of a thousandth."""
    return ((found.double() - expected).norm() / expected.norm().clamp(min=1e-3)).item()


def measure(case: Case, leaves: Leaves, targets: Tensor) -> dict[str, Any]:
    logps, collisions, gradients = exact(case, leaves, targets)
    chosen = [leaf.requires_grad_() for leaf, trained in zip(leaves, case.trained, strict=True) if trained]
    tiling = Tiling(fused_rows=case.rows, fused_columns=case.columns, kept_bytes=case.kept)
    found = linear_logps(*leaves, targets, case.transform, statistics=[Statistic.LOG_COLLISIONS], tiling=tiling)
    ours = torch.autograd.grad(weighted(found.logps), chosen, retain_graph=True)
    again = torch.autograd.grad(weighted(found.logps), chosen)
    with torch.no_grad():
        alone = linear_logps(*leaves, targets, case.transform, tiling=tiling).logps
    return {
        "logps": (found.logps.double() - logps).abs().max().item(),
        "collisions": (found.statistics[Statistic.LOG_COLLISIONS].double() - collisions).abs().max().item(),
        "gradients": [relative(*each) for each in zip(ours, gradients, strict=True)],
        "dtypes": [one.dtype == leaf.dtype for one, leaf in zip(ours, chosen, strict=True)],
        "largest": (leaves[0].double() @ leaves[1].double().T).abs().max().item(),
        "walked twice": all(map(torch.equal, ours, again)),
        "without a graph": torch.equal(alone, found.logps.detach()),
    }


def add_exact_product(sums: Tensor, left: Tensor, right: Tensor, *, fresh: bool) -> None:
    """What a GPU does: a product is added before it is rounded."""
    product = left.float() @ right.float()
    sums.copy_(product if fresh else sums.float() + product)


CERTAIN = CASES["one token of one"]._replace(rows=32)
ROUNDED = CASES["some kept"]._replace(dtype="bfloat16")


def main(path: Path) -> None:
    with patch.object(choice, "head_kernel", lambda *_: fused.FUSED):
        found = {"rounded products": measure(ROUNDED, *inputs_of(ROUNDED))}
        with patch.object(fused, "add_product", add_exact_product):
            found |= {name: measure(case, *inputs_of(case)) for name, case in CASES.items()}
            for name, kept in {"nearly certain, kept": 2**30, "nearly certain, computed again": 0}.items():
                found[name] = measure(CERTAIN._replace(kept=kept), *nearly_certain())
    path.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
