"""The README tells what is there, on a screen and a half; `tests/docs` runs its code."""

from __future__ import annotations

import re
from pathlib import Path

import dpo_lightning
from dpo_lightning import losses

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
CONFIG_PAGE = (ROOT / "docs/config.md").read_text()


def test_it_is_a_screen_and_a_half():
    assert len(README.splitlines()) <= 130


def test_the_python_example_has_twelve_lines_and_a_learning_rate():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len([line for line in code.splitlines() if line]) <= 12
    assert re.search(r"\blr=\d", code)


def test_every_file_target_and_link_of_it_is_there():
    files = re.findall(r"`((?:examples|configs|dpo_lightning|benchmarks|docs)/[\w./-]*)`", README + CONFIG_PAGE)
    links = [link.partition("#")[0] for link in re.findall(r"\]\((?!https?:)([^)]+)\)", README)]
    assert files
    assert len(links) > 20
    for name in [*files, *links]:
        assert (ROOT / name).exists(), name
    targets = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in targets for target in re.findall(r"make (\w+)", README))
    configs = {path.stem for path in (ROOT / "configs").glob("*.yaml")}
    assert all(f"`{name}`" in CONFIG_PAGE for name in configs)


def test_what_it_counts_is_as_many():
    said = " ".join(README.split())
    page = (ROOT / "docs/architectures.md").read_text()
    layouts = re.findall(r"^\| .* \| (tree|padded) \|", page, re.M)
    assert f"on {layouts.count('tree')} of the {len(layouts)} model configurations" in said
    objectives = re.findall(r"^\| \*\*\w+\*\*", (ROOT / "docs/objectives.md").read_text(), re.M)
    assert f"DPO and {len(objectives) - 1} others" in said


def test_the_measured_table_is_that_of_the_page_on_performance():
    rows = re.findall(r"^\| (?:pairs a second|of the matrix-product peak.*?|peak memory.*?) \|.*$", README, re.M)
    assert len(rows) == 3
    assert all(row in (ROOT / "docs/performance.md").read_text() for row in rows)


def test_public_names_are_exported():
    assert all(hasattr(dpo_lightning, name) for name in dpo_lightning.__all__)
    classes = {name for name in losses.__all__ if isinstance(getattr(losses, name), type)}
    assert classes <= set(dpo_lightning.__all__)
