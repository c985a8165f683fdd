"""The frontier as a page: what was measured, the picture, the table, and the settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.frontier.catalogue import LEARNING_RATE, Entry
from benchmarks.frontier.picture import draw
from benchmarks.frontier.protocol import Protocol
from benchmarks.frontier.table import HEADER, SWEEP_HEADER, Frontier
from dpo_lightning.lab.reward import BEST_REWARD
from dpo_lightning.utils.files import replaced

_SETTINGS = ("objective", "settings", "why these")

_BEGINS, _ENDS = "<!-- section {} -->", "<!-- end of section {} -->"

_TEXT = """\
# The frontier: true reward against KL

Every objective trained on the same pairs of the preference lab, and what its policy is then worth: the form of Figure 2
of the DPO paper (arXiv:2305.18290). Written by
`python -m benchmarks.frontier --runs benchmarks/results/frontier.jsonl --docs {page}`, which makes the runs that are
not in that file.

![true reward against KL divergence from the reference]({picture})

## What is measured

* **The world** is the lab's: {pairs} preference pairs about a creature in need, labelled by a true reward that is known
  and that no run sees, but for the objectives that read a column made of it. The best completion is worth {best}. The
  starting policy is a small Llama fitted on text of mixed quality; it is the reference, and the star in the picture.
* **A run** reads the pairs once, {batch} in a step, or half as many lists of four, {lists} in a step: AdamW, peak
  learning rate {rate:g} unless the settings below say otherwise, {warmup:.0%} warm-up, then a cosine, gradients clipped
  at {clip:g}.
* **True reward and KL** are measured on {samples} fresh completions of the trained policy, {each} of each of {prompts}
  prompts whose scenes occur in no training pair, at temperature 1. The KL is KL(policy ‖ reference) in nats per
  completion: at each token of a sample it is summed exactly over the vocabulary, then along the sample.
* **A point** is the mean over {seeds} seeds, with its standard error. A seed decides the order of the pairs and the
  samples; pairs, prompts and starting policy are the same everywhere, so the errors do not contain what other pairs
  would change.
* **Settings**: a completion of the lab has about 15 nats, one of the papers' data hundreds, so that a β for summed
  log-ratios does not carry over. DPO's and IPO's are the best of their sweeps on another seed, as
  `python -m benchmarks.frontier --first_seed 100 --seeds 1 --objectives DPO,IPO --docs sweeps.md` shows, and every loss
  on the same scale takes the same. What else is not the paper's has its reason in the table of settings.
* **over DPO** is the true reward above that of the DPO curve (its β sweep) at the same KL; empty where the curve does
  not reach. An objective whose true reward is not above the starting policy's by two standard errors is marked.

## Where they lie

{summary}
"""


def write_page(frontier: Frontier, protocol: Protocol, path: Path) -> None:
    """Write the page, and beside it the picture, which is named after it; a section of `write_section` stays.

    Args:
        frontier: What is shown.
        protocol: How it was measured.
        path: The Markdown file.
    """
    picture = path.with_name(f"{path.stem}_frontier.png")
    draw(frontier, picture)
    parts = [
        _about(frontier, protocol, path, picture),
        f"## Results\n\n{as_table(HEADER, frontier.rows())}",
        *([f"## Sweeps\n\n{as_table(SWEEP_HEADER, frontier.sweep_rows())}"] if frontier.sweeps else []),
        f"## Settings\n\n{as_table(_SETTINGS, [_settings(point.entry) for point in frontier.entries])}",
        *_sections(path),
    ]
    with replaced(path) as temporary:
        temporary.write_text("\n".join(parts), encoding="utf-8")


def write_section(name: str, text: str, path: Path) -> None:
    """Write a section of another experiment at the end of the page, in place of the one that has its name.

    Args:
        name: What its marks are called.
        text: Markdown, with its heading.
        path: The page.
    """
    page = path.read_text(encoding="utf-8")
    others = [each for each in _sections(path) if not each.startswith(_BEGINS.format(name))]
    section = f"{_BEGINS.format(name)}\n\n{text.strip()}\n\n{_ENDS.format(name)}\n"
    with replaced(path) as temporary:
        temporary.write_text("\n".join([page[: _end_of_own(page)].rstrip() + "\n", *others, section]), encoding="utf-8")


def _sections(path: Path) -> list[str]:
    """Return what others have written at the end of the page, with their marks."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    marked = _BEGINS.format(r"(\S+)") + "\n.*?" + _ENDS.format(r"\1") + "\n"
    return [found[0] for found in re.finditer(marked, text, re.DOTALL)]


def _end_of_own(page: str) -> int:
    found = re.search(_BEGINS.format(r"\S+"), page)
    return len(page) if found is None else found.start()


def _about(frontier: Frontier, protocol: Protocol, path: Path, picture: Path) -> str:
    return _TEXT.format(
        page=path.as_posix(),
        picture=picture.name,
        pairs=f"{protocol.pairs:,}",
        best=BEST_REWARD,
        batch=protocol.batch_pairs,
        lists=protocol.batch_pairs // 2,
        rate=LEARNING_RATE,
        warmup=protocol.warmup,
        clip=protocol.clip,
        samples=f"{protocol.prompts * protocol.samples_per_prompt:,}",
        each=protocol.samples_per_prompt,
        prompts=protocol.prompts,
        seeds=frontier.start.seeds,
        summary="\n".join(f"* {line}" for line in frontier.summary()),
    )


def _settings(entry: Entry) -> tuple[str, ...]:
    rate = f"; learning rate {entry.learning_rate:g}" if entry.learning_rate != LEARNING_RATE else ""
    return entry.name, f"`{entry.objective!r}`{rate}", entry.why


def as_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
