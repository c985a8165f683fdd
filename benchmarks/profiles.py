"""The pairs of `compare.py`: token ids of three length profiles, in two orders, the same for every side.

`hh` is Anthropic's HH (harmless-base, test) where the shared folder is there and the model's vocabulary holds GPT-2's
ids, and otherwise random ids with its lengths.
"""

from __future__ import annotations

import math
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
    """How long prompts and completions are."""

    prompt: Lengths
    chosen: Lengths
    rejected: Lengths


PROFILES = {
    "hh": Profile(Lengths(124, 96, 845), Lengths(41, 28, 281), Lengths(51, 37, 571)),
    "long-prompt": Profile(Lengths(512, 480, 900), Lengths(48, 44, 120), Lengths(48, 44, 120)),
    "long-completion": Profile(Lengths(32, 28, 120), Lengths(384, 350, 900), Lengths(384, 350, 900)),
}


def profile_named(name: str) -> Profile:
    """One of the profiles, or `fixed-L`: prompt and completion of L/2 tokens each."""
    if name in PROFILES:
        return PROFILES[name]
    half = int(name.removeprefix("fixed-")) // 2
    fixed = Lengths(half, half, half)
    return Profile(fixed, fixed, fixed)


def make_pairs(
    name: str, steps: int, batch_pairs: int, vocab_size: int, max_length: int, shared: Path
) -> tuple[str, list[TokenizedExample]]:
    """What the pairs of a profile are, and a pool of them that is enough for `steps` steps."""
    count = max(POOL_STEPS, steps) * batch_pairs
    if name == "hh" and vocab_size >= GPT2_VOCABULARY and hh_file(shared).is_file():
        return "HH", hh_pairs(shared, count, max_length)
    return "random ids", random_pairs(name, count, vocab_size, max_length)


def random_pairs(name: str, count: int, vocab_size: int, max_length: int) -> list[TokenizedExample]:
    """Random ids with the lengths of a profile; completions are cut at `max_length`."""
    rng = np.random.default_rng(0)
    prompts, chosen, rejected = (lengths.draw(rng, count) for lengths in profile_named(name))
    pairs = []
    for number, prompt in enumerate(np.minimum(prompts, max_length - 1)):
        room = max_length - prompt
        lengths = (prompt, min(chosen[number], room), min(rejected[number], room))
        pairs.append(
            TokenizedExample.pair(number, *(rng.integers(vocab_size, size=length).tolist() for length in lengths))
        )
    return pairs


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


def orders(
    pairs: list[TokenizedExample], warmup: int, steps: int, batch_pairs: int
) -> dict[str, list[TokenizedExample]]:
    """The pairs of the run, `shuffled` and `grouped`: the same warm-up steps, then the same pairs.

    All pairs are sorted by length and cut into batches, and the run takes batches at even distances: they hold as
    little padding as those of a long run, and have the lengths of all pairs, however few steps are measured.

    Raises:
        InputError: for fewer pairs than `warmup + steps` batches.
    """
    total = warmup + steps
    batches = len(pairs) // batch_pairs
    if batches < total:
        raise InputError(f"{len(pairs)} pairs are too few for {total} steps of {batch_pairs}")
    by_length = sorted(pairs[: batches * batch_pairs], key=_length)
    rng = np.random.default_rng(0)
    chosen = rng.permutation([(2 * step + 1) * batches // (2 * total) for step in range(total)])
    grouped = [pair for batch in chosen for pair in by_length[batch * batch_pairs : (batch + 1) * batch_pairs]]
    first = warmup * batch_pairs
    shuffled = grouped[:first] + [grouped[first + row] for row in rng.permutation(steps * batch_pairs)]
    return {"shuffled": shuffled, "grouped": grouped}


def _length(pair: TokenizedExample) -> int:
    return len(pair.prompt_ids) + max(map(len, pair.completion_ids))
