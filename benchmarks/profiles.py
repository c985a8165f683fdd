"""The pairs of `compare.py`: token ids of four length profiles, in two orders, the same for every side.

Of a profile with more than two completions of a prompt, the sides of lists get each prompt once, and the sides of pairs
all pairs of its completions. `hh` is Anthropic's HH (harmless-base, test) where the shared folder is there and the
model's vocabulary holds GPT-2's ids, and otherwise random ids with its lengths.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dpo_lightning import TokenizedExample
from dpo_lightning.errors import InputError

POOL_STEPS = 64
"""Steps in which pairs are grouped by length; also the window of `ExampleBatchSampler`. TRL takes 50."""

GPT2_VOCABULARY = 50_257


class Lengths(NamedTuple):
    """A log-normal distribution of token counts, cut at `most`."""

    mean: float
    median: float
    most: int

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Token counts `[count]`, at least 1. The mean of a log-normal is median × exp(σ²/2)."""
        sigma = math.sqrt(2 * math.log(self.mean / self.median))
        return np.clip(rng.lognormal(math.log(self.median), sigma, count).round(), 1, self.most).astype(int)


class Profile(NamedTuple):
    """How long a prompt and its completions are, two or more."""

    prompt: Lengths
    completions: tuple[Lengths, ...]

    @property
    def pairs(self) -> int:
        """Pairs of the completions of a prompt."""
        return math.comb(len(self.completions), 2)


_HH = Profile(Lengths(124, 96, 845), (Lengths(41, 28, 281), Lengths(51, 37, 571)))
PROFILES = {
    "hh": _HH,
    "long-prompt": Profile(Lengths(512, 480, 900), (Lengths(48, 44, 120),) * 2),
    "long-completion": Profile(Lengths(32, 28, 120), (Lengths(384, 350, 900),) * 2),
    "four": Profile(_HH.prompt, _HH.completions * 2),
}


def _spread(mean: float, sigma: float, most: int) -> Lengths:
    """Lengths whose logarithms have the standard deviation `sigma`."""
    return Lengths(mean, mean * math.exp(-(sigma**2) / 2), most)


LONG_PROFILES = {
    "uf": Profile(_spread(200, 1.0, 1600), (_spread(300, 0.87, 2000), _spread(280, 0.92, 2000))),
    "long": Profile(_spread(3000, 0.25, 6000), (_spread(300, 0.87, 1800), _spread(300, 0.92, 1800))),
}
"""Profiles of `gpu.py`, too long for `compare.py`. Their means are UltraFeedback's and those of long documents; the
spread is HH's own: the logarithms of its prompts, chosen and rejected completions have standard deviations of 1.00,
0.87 and 0.92 (GPT-2 tokens, 2,308 pairs), and those of its longest tenth of prompts have 0.25."""


def profile_named(name: str) -> Profile:
    """One of the profiles, or `fixed-L`: prompt and completion of L/2 tokens each."""
    if name in PROFILES or name in LONG_PROFILES:
        return {**PROFILES, **LONG_PROFILES}[name]
    half = int(name.removeprefix("fixed-")) // 2
    fixed = Lengths(half, half, half)
    return Profile(fixed, (fixed, fixed))


def make_examples(
    name: str, steps: int, batch_pairs: int, vocab_size: int, max_length: int, shared: Path
) -> tuple[str, list[TokenizedExample]]:
    """What the examples of a profile are, and a pool of them that is enough for `steps` steps."""
    count = max(POOL_STEPS, steps) * prompts_of_step(name, batch_pairs)
    if name == "hh" and vocab_size >= GPT2_VOCABULARY and hh_file(shared).is_file():
        return "HH", hh_pairs(shared, count, max_length)
    return "random ids", random_examples(name, count, vocab_size, max_length)


def prompts_of_step(name: str, batch_pairs: int) -> int:
    """Prompts whose completions make so many pairs.

    Raises:
        InputError: for a number of pairs that no number of prompts makes.
    """
    pairs = profile_named(name).pairs
    if batch_pairs % pairs:
        raise InputError(
            f"profile {name} has {pairs} pairs of a prompt: give a multiple of it as --batch-pairs, not {batch_pairs}"
        )
    return batch_pairs // pairs


def random_examples(name: str, count: int, vocab_size: int, max_length: int) -> list[TokenizedExample]:
    """Random ids with the lengths of a profile; completions are cut at `max_length`."""
    rng = np.random.default_rng(0)
    profile = profile_named(name)
    prompts, *completions = (lengths.draw(rng, count) for lengths in (profile.prompt, *profile.completions))
    examples = []
    for number, prompt in enumerate(np.minimum(prompts, max_length - 1)):
        lengths = (prompt, *(min(each[number], max_length - prompt) for each in completions))
        ids = [rng.integers(vocab_size, size=length).tolist() for length in lengths]
        examples.append(TokenizedExample(number, ids[0], ids[1:]))
    return examples


def as_pairs(examples: Iterable[TokenizedExample]) -> list[TokenizedExample]:
    """All pairs of the completions of each prompt, the one that stands first as the chosen one."""
    return [
        TokenizedExample.pair(each.row, each.prompt_ids, chosen, rejected)
        for each in examples
        for chosen, rejected in combinations(each.completion_ids, 2)
    ]


def as_lists(examples: Iterable[TokenizedExample]) -> list[TokenizedExample]:
    """The examples with scores that fall from the first completion to the last."""
    return [each._replace(columns={"score": [float(-k) for k in range(len(each.completion_ids))]}) for each in examples]


def hh_file(shared: Path) -> Path:
    """2,312 pairs; the prompt is what both dialogues begin with."""
    return shared / "data" / "hh_harmless_test.jsonl.gz"


def hh_pairs(shared: Path, count: int, max_length: int) -> list[TokenizedExample]:
    """A random choice of HH's pairs with the GPT-2 tokenizer; all of them where there are not `count`."""
    import datasets

    from dpo_lightning import RowFormat
    from dpo_lightning.data import ExampleTokenizer
    from dpo_lightning.data.dataset import ExampleDataset
    from dpo_lightning.data.reading.sources import load_rows
    from dpo_lightning.data.tokenize.loading import load_tokenizer
    from dpo_lightning.data.tokenize.rows import tokenize_rows

    datasets.disable_progress_bars()
    tokenizer = load_tokenizer(str(shared / "tokenizers" / "gpt2"))
    rows = load_rows(str(hh_file(shared)), "train", {})
    encoded = tokenize_rows(rows, RowFormat(), ExampleTokenizer(tokenizer, max_length), "HH")
    order = np.random.default_rng(0).permutation(len(encoded))[:count]
    return ExampleDataset(encoded).__getitems__(order.tolist())


def orders(examples: list[TokenizedExample], warmup: int, steps: int, batch: int) -> dict[str, list[TokenizedExample]]:
    """The examples of the run, `shuffled` and `grouped`: the same warm-up steps, then the same examples.

    All examples are sorted by length and cut into batches, and the run takes batches at even distances: they hold as
    little padding as those of a long run, and have the lengths of all examples, however few steps are measured.

    Raises:
        InputError: for fewer examples than `warmup + steps` batches.
    """
    total = warmup + steps
    batches = len(examples) // batch
    if batches < total:
        raise InputError(f"{len(examples)} prompts are too few for {total} steps of {batch}")
    by_length = sorted(examples[: batches * batch], key=_length)
    rng = np.random.default_rng(0)
    chosen = rng.permutation([(2 * step + 1) * batches // (2 * total) for step in range(total)])
    grouped = [each for number in chosen for each in by_length[number * batch : (number + 1) * batch]]
    first = warmup * batch
    shuffled = grouped[:first] + [grouped[first + row] for row in rng.permutation(steps * batch)]
    return {"shuffled": shuffled, "grouped": grouped}


def _length(example: TokenizedExample) -> int:
    return len(example.prompt_ids) + max(map(len, example.completion_ids))
