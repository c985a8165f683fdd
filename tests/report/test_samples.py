"""Samples with their rewards, as a table and as Markdown."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning.report import SampledPrompt
from dpo_lightning.report.samples import mean_reward, print_samples, summarise, write_samples


def test_mean_reward_by_hand():
    rows = [SampledPrompt("p", ["a", "bb"], ["ccc", "cc"]), SampledPrompt("q", ["", "a"], ["c", "cc"])]
    assert mean_reward(rows, "before", lambda prompt, text: len(text)) == (1.0, 0.408248290463863)
    assert "1.00 ± 0.41 before, 2.00 ± 0.41 after (+1.00)" in summarise(rows, lambda prompt, text: len(text))


ROWS = [SampledPrompt("a *b*\n c", ["x", "yy"], [" z\nz "])]


def test_every_sample_is_written_on_a_line_with_its_reward(tmp_path: Path) -> None:
    write_samples(ROWS, lambda prompt, text: float(len(text)), tmp_path / "samples.md")

    lines = (tmp_path / "samples.md").read_text(encoding="utf-8").splitlines()
    assert lines[2].startswith("mean true reward of 1 fresh samples: 1.50 ± 0.50 before, 5.00 ± nan after (+3.50)")
    assert lines[4:] == [r"## a \*b\* c", "", "* *before*: [+1] x", "* *before*: [+2] yy", "* *after*: [+5] z z"]


def test_without_a_reward_there_is_none(tmp_path: Path) -> None:
    write_samples(ROWS, None, tmp_path / "samples.md")

    text = (tmp_path / "samples.md").read_text(encoding="utf-8")
    assert "reward" not in text
    assert "* *after*: z z" in text


def test_the_first_sample_of_each_stage_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_samples([SampledPrompt("prompt", ["first", "second"], [" [bold]last"])], lambda prompt, text: -1.5)

    shown = capsys.readouterr().out
    assert "[-1.5] first" in shown
    assert "second" not in shown
    assert "[-1.5] [bold]last" in shown, "markup in a sample is text"


HOSTILE = "a|b [x](http://y.z) <b>c</b> \x1b[2J\r\u202e\u200b [bold]d[/bold]"


def test_texts_of_others_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [SampledPrompt(HOSTILE, [HOSTILE], [HOSTILE])]
    for reward in (None, lambda prompt, text: 1.0):
        write_samples(rows, reward, tmp_path / "samples.md")
        print_samples(rows, reward)
        markdown, printed = (tmp_path / "samples.md").read_text(encoding="utf-8"), capsys.readouterr().out
        for unseen in ("\x1b", "\r", "\u202e", "\u200b"):
            assert unseen not in markdown
            assert unseen not in printed
        assert (
            r"a\|b \[x\](http&#58;&#47;&#47;y.z) &lt;b&gt;c&lt;/b&gt; \\x1b\[2J\\r\\u202e\\u200b \[bold\]d" in markdown
        )
        assert r"\x1b[2J" in printed
        assert "[bold]" in printed
