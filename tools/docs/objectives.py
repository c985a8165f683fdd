"""Writes docs/objectives.md and its pictures from the docstrings: `python -m tools.docs.objectives`."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dpo_lightning import losses
from dpo_lightning.losses import ListObjective, Objective, Reads, UnpairedObjective
from dpo_lightning.losses.any_modifier import AnyModifier
from tools.docs.deviations import DEVIATIONS
from tools.docs.objective_plots import draw

DOCUMENT = Path(__file__).parents[2] / "docs" / "objectives.md"
PICTURES = DOCUMENT.parent / "objectives"

_READS = {
    Reads.REFERENCE: "reference",
    Reads.LIKELIHOOD: "likelihood",
    Reads.LENGTHS: "lengths",
    Reads.MARGIN: "`margin` column",
    Reads.PROBABILITY: "`probability` column",
    Reads.WEIGHT: "`weight` column",
    Reads.BATCH: "the other pairs of the micro-batch",
    Reads.BASELINE: "a mean over batches and ranks",
    Reads.TOKENS: "log-probs of single tokens",
    Reads.COLLISIONS: "collision probabilities",
    Reads.MISMATCHED: "mismatched completions",
    Reads.SCORE: "`score` column",
    Reads.QUANTILE: "`quantile` column",
}

_INTRODUCTION = """\
# Objectives

What can be minimised: equation, source, settings, the scale of the reward that is logged, and what the loss reads.
Written by `python -m tools.docs.objectives` from the docstrings; `tests/tools/docs/test_objectives.py` holds it up to
date. How they compare on data with a known true reward is in `docs/lab.md`.

In a config an objective is a name with its settings, and a setting that it does not read is an unknown key:

```yaml
model:
  objective:
    class_path: Weighted
    init_args:
      objectives:
        - {class_path: DPO, init_args: {beta: 0.1}}
        - {class_path: SFT}
      weights: [1.0, 0.2]
```

**Symbols.** `x` prompt, `y_w` chosen and `y_l` rejected completion, `|y|` its tokens, EOS included; `ρ = log π(y|x) -
log π_ref(y|x)` a log-ratio in nats, summed over the completion, `Δ = ρ_w - ρ_l`; `r` a reward; `σ` the logistic
function; `y_i` a completion of a list and `s_i` its score; `λ`, `ε`, `γ` the settings in the row. Defaults are what the
papers recommend, for completions of hundreds of tokens: the scale of `β` goes with the length.

**Pictures.** A pair of 20 tokens each whose log-probs are those of the reference, -1 nat a token, but for one of the
two: loss (solid) and its derivative by that log-prob (dashed) against how far it has moved, in nats. Blue moves the
chosen or desirable completion, red the rejected or undesirable one; of a list of four with the scores 3, 2, 1 and 0
blue the best and red the worst.
"""


_ANY = Objective | UnpairedObjective | ListObjective | AnyModifier


class Entry(NamedTuple):
    """Words of the page about one objective."""

    kind: type
    equations: list[str]
    sources: list[str]
    settings: dict[str, str]
    reward: str
    purpose: str


def kinds() -> list[type]:
    """Return every objective that is exported, those with a reference first, then by name."""
    exported = [getattr(losses, name) for name in losses.__all__]
    concrete = [
        kind for kind in exported if isinstance(kind, type) and issubclass(kind, _ANY) and not inspect.isabstract(kind)
    ]
    return sorted(concrete, key=lambda kind: (_family(kind), kind.__name__.lower()))


def entry(kind: type) -> Entry:
    """Read the docstrings of the class and of its pure function."""
    function = _pure_function(kind)
    own, formula = _doc(kind), _doc(function or kind)
    first, *others = own.split("\n\n")
    first = " ".join(first.split())
    return Entry(
        kind,
        [_one_line(block) for block in _math(formula)] or [_one_line(block) for block in _math(own)],
        list(dict.fromkeys(re.findall(r"arXiv:\d{4}\.\d{5}", f"{own} {formula}"))),
        _arguments(own),
        match.group(1).strip() if (match := re.search(r"reward = ([^.]*)", first)) else "",
        _purpose(others),
    )


def document() -> str:
    """Return the page."""
    return "".join([_INTRODUCTION, *_table(), *_deviations(), _NOT_HERE])


def _table() -> Iterator[str]:
    yield "\n| objective | equation | settings | reward | reads | loss and gradient |\n|---|---|---|---|---|---|\n"
    for kind in kinds():
        found = entry(kind)
        name = kind.__name__
        sources = ", ".join(f"[{source}](https://arxiv.org/abs/{source[6:]})" for source in found.sources)
        cells = [
            f"**{name}**<br>{found.purpose}",
            "<br>".join([*(_inline(equation) for equation in found.equations), sources]),
            "<br>".join(_setting(kind, *setting) for setting in found.settings.items()) or "none",
            found.reward,
            _needs(kind),
            f"![{name}](objectives/{name}.png)" if (PICTURES / f"{name}.png").exists() else "",
        ]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _setting(kind: type, name: str, text: str) -> str:
    """Describe a setting, with its default where it has one."""
    default = next(field.default for field in dataclasses.fields(kind) if field.name == name)
    return f"`{name}`: {text}" if default is dataclasses.MISSING else f"`{name} = {default}`: {text}"


def _deviations() -> Iterator[str]:
    yield "\n## Where TRL 1.16.0 differs\n\n"
    yield "On what `tests/parity/` trains with both, the two agree to 1e-6 but for these. Here the paper decides.\n\n"
    yield "| objective | TRL | the paper, and here | shown by |\n|---|---|---|---|\n"
    for deviation in DEVIATIONS:
        cells = (deviation.objective, deviation.trl, deviation.paper, f"`{deviation.test}`")
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


_NOT_HERE = """
## What is not here

* **TDPO** (arXiv:2404.11999) adds, for each token, the divergence of the whole distributions, `Σ_v p_ref(v)
  (log p_ref(v) - log p(v))`. Its gradient needs the mean of the head's rows under `p_ref`: beside the products of
  tokens, vocabulary and width that the heads of policy and reference take now, one more (4 for 3 with a frozen head, 5
  for 4 with a trained one, 6 where the tiles are recomputed). That is bearable; the data flow is not: the reference
  would have to hand its hidden states and its head to the policy's, tile by tile, where every reference now hands over
  one number a token, and a cached one would have to keep the vocabulary's probabilities of every token.
* **beta-DPO's choice of pairs**: a fifth of them left out, drawn at random with weights by their margins. The loss
  would no longer be a function of its scores, and need the spread of the margins as a second running mean.
* **BCO's density ratios** between the prompts of both labels, in the paper's first version: they need an embedding of
  the prompts and a classifier of their own.
* **SPPO with soft probabilities**: its pairs have a probability for each completion against the policy, not one for the
  pair.
"""


def _family(kind: type[Any]) -> int:
    if issubclass(kind, UnpairedObjective | ListObjective):
        return 3 if issubclass(kind, ListObjective) else 2
    if any(field.name in ("objective", "objectives") for field in dataclasses.fields(kind)):
        return 4
    return 0 if Reads.REFERENCE in _reads(kind) else 1


def _reads(kind: type) -> Reads:
    reads: Any = inspect.getattr_static(kind, "reads")
    return kind().reads if isinstance(reads, property) else reads


_ADDED = {"RowWeighted": ", `weight` column", "AllPairs": ", `score` column"}


def _needs(kind: type) -> str:
    if any(field.name in ("objective", "objectives") for field in dataclasses.fields(kind)):
        return "what its parts read" + _ADDED.get(kind.__name__, "")
    return ", ".join(text for flag, text in _READS.items() if flag in _reads(kind))


def _pure_function(kind: type) -> Callable[..., Any] | None:
    """Find the function of the same name: `apo_zero` of `APOZero`."""
    module = inspect.getmodule(kind)
    functions = {
        name.replace("_", ""): function
        for name, function in vars(module).items()
        if inspect.isfunction(function) and function.__module__ == kind.__module__
    }
    return functions.get(kind.__name__.lower())


def _doc(item: Any) -> str:
    return inspect.getdoc(item) or ""


def _math(text: str) -> list[str]:
    """Return the text of the `.. math::` blocks."""
    pattern = r"^\.\. math::[ \t]*([^\n]*(?:\n(?:[ \t]+[^\n]*|[ \t]*))*)"
    return [textwrap.dedent(block) for block in re.findall(pattern, text, re.MULTILINE)]


def _one_line(equation: str) -> str:
    """Fit an equation into a table's cell, which a bar would end."""
    return " ".join(equation.split()).replace(r"\|", r"\Vert ").replace("|", r"\vert ")


def _inline(equation: str) -> str:
    """Write GitHub's form of inline mathematics in which Markdown changes nothing."""
    return f"$`{equation}`$"


def _arguments(text: str) -> dict[str, str]:
    """Return name and first sentences of each argument."""
    _, _, block = text.partition("Args:\n")
    block = block.split("\n\n")[0]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {6,}.*)*)", block, re.MULTILINE)
    return {name: _links(" ".join(words.split())) for name, words in entries}


def _purpose(paragraphs: list[str]) -> str:
    plain = [paragraph for paragraph in paragraphs if not paragraph.startswith((".. math", "Args:"))]
    return _links(" ".join(plain[0].split())) if plain else ""


def _links(text: str) -> str:
    """Turn roles of reStructuredText into Markdown."""
    text = re.sub(r":math:`([^`]*)`", lambda match: _inline(_one_line(match.group(1))), text)
    return re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text).replace("``", "`")


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for each in kinds():
        draw(each, PICTURES / f"{each.__name__}.png")
    DOCUMENT.write_text(document(), encoding="utf-8")
