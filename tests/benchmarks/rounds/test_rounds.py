"""Three rounds against one, on a lab so small that it says nothing: what is run, kept, compared and written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.frontier import Protocol
from benchmarks.frontier.measure import Estimate, Measurement
from benchmarks.frontier.page import write_page, write_section
from benchmarks.rounds import command
from benchmarks.rounds.arms import OFFLINE, ROUNDS, SAMPLED
from benchmarks.rounds.curves import Point, is_clear, over
from benchmarks.rounds.samples import pairs_of
from dpo_lightning.lab import PolicyRecipe, true_reward
from dpo_lightning.lab.reward import prompts
from tests.benchmarks.frontier import made_up

TINY = Protocol(
    pairs=18,
    prompts=4,
    samples_per_prompt=2,
    max_new_tokens=12,
    batch_pairs=3,
    recipe=PolicyRecipe(hidden_size=16, layers=1, heads=2, texts=32),
)
ARMS = (OFFLINE.over((0.3, 1.0)), SAMPLED.over((1.0,)), ROUNDS.over((1.0,)))


def point(*runs: tuple[float, float]) -> Point:
    """Runs of true reward and KL, one for each seed."""
    return Point(ROUNDS, [Measurement(Estimate(r, 0.1), Estimate(kl, 0.1), Estimate(30.0, 0.1)) for r, kl in runs])


def test_the_best_completion_of_a_prompt_is_against_the_worst():
    prompt = next(iter(prompts()))
    hero, creature = prompts()[prompt].hero, prompts()[prompt].creature
    worse = f" {hero} laughed at the {creature}. Then it was time for {hero} to go home."
    better = f" {hero} gently stroked the {creature}. Then it was time for {hero} to go home."
    between = f" {hero} looked at the {creature} for a while. Then it was time for {hero} to go home."
    assert [true_reward(prompt, each) for each in (worse, between, better)] == [-1, 0, 1]
    texts = [between, worse, between, better]
    assert pairs_of(prompt, texts, ROUNDS) == [{"prompt": prompt, "chosen": better, "rejected": worse}]
    several = pairs_of(prompt, texts, ROUNDS.__class__("", pairing="all"))
    assert len(several) == 5  # of six, one has the same reward twice
    assert pairs_of(prompt, [worse, worse], ROUNDS) == []


def test_a_difference_is_taken_seed_by_seed():
    """Lines from (1, 1) to (3, 3) and from (1, 2) to (3, 4): at KL 2 they are at 2 and 3."""
    curve = [point((1.0, 1.0), (2.0, 1.0)), point((3.0, 3.0), (4.0, 3.0))]
    found = over(point((2.5, 2.0), (3.7, 2.0)), curve)
    assert found is not None
    assert found.mean == pytest.approx(0.6)
    assert found.error == pytest.approx(0.1)
    assert is_clear(found)
    assert not is_clear(Estimate(0.6, 0.31))
    level = over(point((4.0, 9.0), (5.0, 9.0)), [*curve, point((0.0, 5.0), (0.0, 5.0))])
    assert level == (1.0, 0.0)  # over 3 and 4, the best before the curve goes down
    assert over(point((2.5, 2.0), (3.7, 0.5)), curve) is None  # the second seed's runs all have more
    assert not is_clear(None)


def test_the_writer_of_the_page_keeps_sections_of_others(tmp_path):
    page, frontier = tmp_path / "lab.md", made_up.crowded()
    write_page(frontier, made_up.PROTOCOL, page)
    own = page.read_text()
    write_section("rounds", "## Rounds\n\nOne.", page)
    write_section("rounds", "## Rounds\n\nTwo.", page)
    whole = page.read_text()
    assert whole == f"{own}\n<!-- section rounds -->\n\n## Rounds\n\nTwo.\n\n<!-- end of section rounds -->\n"
    write_page(frontier, made_up.PROTOCOL, page)
    assert page.read_text() == whole


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_runs_are_made_once_and_the_page_keeps_its_other_sections(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    page = Path("lab.md")
    page.write_text("# The frontier\n\nIts own text.\n")
    write_section("other", "## Other\n\nStays.", page)
    words = ["--out", "out", "--runs", "runs.jsonl", "--seeds", "2", "--docs", "lab.md"]
    command.main(words, TINY, ARMS)
    rows = [json.loads(line) for line in Path("runs.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * (1 + 2 + 1 + 3)
    assert [row["settings"]["done"] for row in rows[:7]] == [0, 1, 1, 1, 1, 2, 3]
    assert rows[0]["kl"]["mean"] == 0
    text = page.read_text()
    assert text.startswith("# The frontier\n\nIts own text.\n\n<!-- section other -->\n\n## Other\n\nStays.\n")
    assert "| three rounds | 1 | " in text
    assert text.count("## Three rounds against one") == 1
    assert Path("lab_rounds.png").stat().st_size > 10_000
    monkeypatch.setattr(command, "run_arm", lambda *_: pytest.fail("it was run already"))
    command.main(words, TINY, ARMS)
    assert page.read_text() == text


def test_a_page_that_is_not_there_is_refused_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        command.main(["--docs", "lab.md"], TINY, ARMS)
    assert end.value.code == "error: rounds --docs: there is no page lab.md: `python -m benchmarks.frontier` writes it"
    assert list(tmp_path.iterdir()) == []
