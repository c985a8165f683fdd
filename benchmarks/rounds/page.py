"""The rounds as a section of the lab's page."""

from __future__ import annotations

from pathlib import Path

from benchmarks.frontier import Protocol
from benchmarks.frontier.page import as_table, write_section
from benchmarks.rounds.arms import ROUNDS
from benchmarks.rounds.picture import draw
from benchmarks.rounds.results import BY_ROUND, HEADER, Results

_TEXT = """\
## Three rounds against one

Pairs that the policy itself has just written, against the same number of pairs from elsewhere. Written by
`python -m benchmarks.rounds --docs {page}`, from the runs in `benchmarks/results/rounds.jsonl` and those that are not
there yet.

![true reward against KL divergence, one round and three]({picture})

* **One round, the lab's pairs**: DPO on {pairs:,} pairs of the world, as in the frontier.
* **One round, pairs of the first policy**: {samples} completions of each training prompt are sampled from the policy
  before training, scored with the true reward, and the best and the worst are a pair; then DPO on {pairs:,} of these.
* **Three rounds**: the same, three times with {each:,} pairs each: sampled from the policy as it then is, and
  compared with that policy as the reference. All arms have {pairs:,} pairs, {steps} optimizer steps of {batch} pairs
  and the same AdamW; the learning rate rises and falls once in each round.
* The KL is that from the first policy, in every arm. Each curve is DPO with several β, a point the mean over
  {seeds} seeds with its standard error; the measurement is the frontier's, on prompts that no pair is about.
* **over** an arm: true reward above the best that it reaches at no more KL, seed by seed: above the line through its
  points, none of them counted below one with less KL, and level behind its end.

{summary}

{table}
True reward at KL in the three rounds, by round:

{by_round}"""


def write_page(results: Results, protocol: Protocol, seeds: int, path: Path) -> None:
    """Write the section at the end of a page, in place of the one of before, and beside the page the picture.

    Args:
        results: What is shown.
        protocol: How it was measured.
        seeds: Runs of each point.
        path: The Markdown file, which is there.
    """
    picture = path.with_name(f"{path.stem}_rounds.png")
    draw(results, picture)
    text = _TEXT.format(
        page=path.as_posix(),
        picture=picture.name,
        pairs=protocol.pairs,
        each=protocol.pairs // ROUNDS.rounds,
        steps=protocol.pairs // protocol.batch_pairs,
        batch=protocol.batch_pairs,
        samples=ROUNDS.samples,
        seeds=seeds,
        summary="\n".join(f"* {line}" for line in results.summary()),
        table=as_table(HEADER, results.rows()),
        by_round=as_table(BY_ROUND, results.by_round()),
    )
    write_section("rounds", text, path)
