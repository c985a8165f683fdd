"""A step that was done stays done, and only by the config that did it."""

from __future__ import annotations

import json

import pytest

from dpo_lightning.cli.loop.journal import check_scorer_kept, is_done, note
from dpo_lightning.cli.loop.steps import Step
from dpo_lightning.errors import InputError


def step(directory, words=("generate", "--samples", "4"), **made):
    made = {"command": [*words], **made}
    return Step(directory, "generate", [*words], directory / "samples.jsonl", made)


def test_a_noted_step_is_done(tmp_path):
    asked = step(tmp_path / "round-1", prompts="abc")
    assert not is_done(asked)
    asked.directory.mkdir()
    asked.makes.write_text("rows\n")
    assert not is_done(asked)  # a file that nobody has noted may be half of one
    note(asked)
    assert is_done(asked)
    assert not is_done(asked._replace(name="score"))


@pytest.mark.parametrize(
    ("words", "made", "line"),
    [
        (("generate", "--samples", "8"), {"prompts": "abc"}, r"another config \(4 then, 8 now\): give another --out"),
        (("generate", "--samples", "4", "--plain"), {"prompts": "abc"}, r"\(without then, --plain now\)"),
        (("generate", "--samples", "4"), {"prompts": "b"}, r'\(prompts "abc" then, "b" now\)'),
    ],
)
def test_another_config_is_refused(tmp_path, words, made, line):
    before = step(tmp_path, prompts="abc")
    before.makes.write_text("rows\n")
    note(before)
    with pytest.raises(InputError, match=line):
        is_done(step(tmp_path, words, **made))


def test_a_changed_fit_is_named_by_its_key(tmp_path):
    before = step(tmp_path, config={"model": {"lr": 1, "beta": 2}})
    before.makes.write_text("rows\n")
    note(before)
    with pytest.raises(InputError, match=r"\(config.model.lr 1 then, 3 now\)"):
        is_done(step(tmp_path, config={"model": {"lr": 3, "beta": 2}}))


def test_what_a_step_made_must_be_there_as_it_was(tmp_path):
    asked = step(tmp_path / "round-1")
    asked.directory.mkdir()
    asked.makes.write_text("rows\n")
    note(asked)
    asked.makes.write_text("other\n")
    with pytest.raises(InputError, match=r"round 1, generate: .*samples.jsonl was changed after it was done"):
        is_done(asked)
    asked.makes.unlink()
    with pytest.raises(InputError, match=r"samples.jsonl is gone: give another --out, or delete"):
        is_done(asked)


def test_scores_of_another_scorer_than_the_round_before_are_refused(tmp_path):
    """The words of the command are the same where the file of the function was edited between two rounds."""
    steps = []
    for number, source in enumerate(("a", "a", "b"), start=1):
        directory = tmp_path / f"round-{number}"
        directory.mkdir()
        (directory / ".scored.jsonl.made").write_text(json.dumps({"file": number, "scorer": {"source": source}}))
        (directory / "scored.jsonl").write_text("rows\n")
        steps.append(Step(directory, "score", ["score"], directory / "scored.jsonl", {}))
        if source == "a":
            check_scorer_kept(steps[-1])
    with pytest.raises(InputError, match=r'round 3, score: the scorer is not that of .*\(source "a" then, "b" now\)'):
        check_scorer_kept(steps[-1])
