"""Samples with their rewards: on the screen, as Markdown, as rows of the record and of a table."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.cells import cell_len

from dpo_lightning.report import Completions, SampledPrompt, print_samples
from dpo_lightning.report.samples import mean_reward, record_rows, rewarded, shortened, summary, table, write_samples


def length(prompt: str, text: str) -> float:
    return float(len(text))


def row(prompt="p", policy=("ccc", "cc"), before=("a", "bb"), reference=None, turn=None, reward=length):
    given = [None if each is None else rewarded(prompt, list(each), reward) for each in (policy, before, reference)]
    return SampledPrompt(prompt, *given, last_turn=turn)


def test_mean_reward_by_hand():
    rows = [row(), row("q", ("c", "cc"), ("", "a"))]
    assert mean_reward([each.before for each in rows]) == (1.0, 0.408248290463863)
    assert "1.00 ± 0.41 before, 2.00 ± 0.41 after (+1.00)" in summary(rows)
    assert summary([row(reward=None)]) is None


def written(rows: list[SampledPrompt], path: Path) -> list[str]:
    write_samples(rows, "Samples", path / "samples.md")
    return (path / "samples.md").read_text(encoding="utf-8").splitlines()


def test_every_sample_is_written_on_a_line_with_its_reward(tmp_path: Path) -> None:
    lines = written([row("a *b*\n c", [" z\nz "], ["x", "yy"], ["w"])], tmp_path)

    assert lines[2].startswith("mean reward of 1 fresh samples: 1.50 ± 0.50 before, 5.00 ± nan after (+3.50)")
    assert lines[4:9] == [r"## 1. a \*b\* c", "", r"> a \*b\*  ", "> c  ", ""]
    assert lines[9:] == ["* *before*: [+1] x", "* *before*: [+2] yy", "* *reference*: [+1] w", "* *policy*: [+5] z z"]


def test_a_heading_is_short_and_the_whole_prompt_stands_below_it(tmp_path: Path) -> None:
    prompt = "\n".join(f"turn {number} of a long conversation" for number in range(40))
    lines = written([row(prompt, turn="What did I say?"), row("short")], tmp_path)

    assert [line for line in lines if line.startswith("## ")] == ["## 1. What did I say?", "## 2. short"]
    assert [line for line in lines if line.startswith("> ")] == [f"> {each}  " for each in prompt.split("\n")]


def test_what_policy_and_reference_say_alike_is_written_once(tmp_path: Path) -> None:
    lines = written([row(reference=("a", "bb")), row(reference=("a", "b"))], tmp_path)

    names = [line.split("*: ")[0] for line in lines if line.startswith("* ")]
    alone = ["* *before"] * 2 + ["* *reference"] * 2 + ["* *policy"] * 2
    assert names == ["* *before, reference"] * 2 + ["* *policy"] * 2 + alone


def test_without_a_reward_there_is_none(tmp_path: Path) -> None:
    text = "\n".join(written([row(reward=None)], tmp_path))
    assert "reward" not in text
    assert "* *policy*: ccc" in text


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_what_is_printed_fits_the_terminal_and_is_short(columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    chat = "system You help. " + "and so on " * 2000
    rows = [row(chat, ["long " * 900], ["b"], ["漢字" * 400], turn="Why is the sky blue?"), row(chat)]
    print_samples(rows, "Samples after step 3", width=columns)

    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= columns
    assert len(lines) <= 1 + (1 + 5 + 5 + 1) + (3 + 5 + 5)
    assert lines[0] == "Samples after step 3"
    assert lines[1] == "last turn  Why is the sky blue?"
    assert [line.split()[0] for line in lines if line[:1].strip()][1:] == [
        "last", "reference", "policy", "prompt", "before", "policy",
    ]  # fmt: skip


def test_the_first_sample_of_each_model_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_samples([row("prompt", [" [bold]last"], ["first", "second"], reward=lambda prompt, text: -1.5)], "", width=80)

    shown = capsys.readouterr().out
    assert "before  [-1.5] first" in shown
    assert "second" not in shown
    assert "[-1.5] [bold]last" in shown, "markup in a sample is text"


@pytest.mark.parametrize("columns", [20, 21, 60])
def test_a_long_text_is_shown_without_its_middle(columns: int) -> None:
    for text in ("abc def " * 50, "漢字" * 50):
        short = shortened(text, columns)
        assert cell_len(short) <= columns
        assert short[:3] == text[:3]
        assert short[-2:] == text.strip()[-2:]
        assert " … " in short
    assert shortened(" a\n b ", 20) == "a b"


HOSTILE = "a|b [x](http://y.z) <b>c</b> \x1b[2J\r\u202e\u200b [bold]d[/bold]"


def test_texts_of_others_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for reward in (None, lambda prompt, text: 1.0):
        rows = [row(HOSTILE, [HOSTILE], [HOSTILE], reward=reward)]
        markdown = "\n".join(written(rows, tmp_path))
        print_samples(rows, "", width=200)
        printed = capsys.readouterr().out
        for unseen in ("\x1b", "\r", "\u202e", "\u200b"):
            assert unseen not in markdown
            assert unseen not in printed
        assert (
            r"a\|b \[x\](http&#58;&#47;&#47;y.z) &lt;b&gt;c&lt;/b&gt; \\x1b\[2J\\r\\u202e\\u200b \[bold\]d" in markdown
        )
        assert r"\x1b[2J" in printed
        assert "[bold]" in printed


def test_rows_of_the_record_hold_texts_and_rewards_as_they_are() -> None:
    (with_all,), (plain,) = record_rows([row(HOSTILE, reference=["r", "s"])], 7), record_rows([row(reward=None)], 0)
    assert with_all == {
        "step": 7,
        "prompt": HOSTILE,
        "policy": ["ccc", "cc"],
        "reference": ["r", "s"],
        "rewards": {"policy": [3.0, 2.0], "reference": [1.0, 1.0]},
    }
    assert plain == {"step": 0, "prompt": "p", "policy": ["ccc", "cc"], "reference": None}


def test_a_table_has_a_row_for_each_sample() -> None:
    assert table([row(reference=["r", "s"]), row("q", ["x"], ["y"], ["z"])], 5) == {
        "step": [5, 5, 5],
        "prompt": ["p", "p", "q"],
        "reference": ["r", "s", "z"],
        "policy": ["ccc", "cc", "x"],
        "reward/reference": [1.0, 1.0, 1.0],
        "reward/policy": [3.0, 2.0, 1.0],
    }
    assert list(table([row(reward=None)], 5)) == ["step", "prompt", "policy"]
    assert Completions(["a"]).rewards is None
