"""Help of each command: short, its own, and there before torch is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dpo_lightning import PreferenceDataModule
from dpo_lightning.cli.door import main
from dpo_lightning.cli.family import NAMES
from dpo_lightning.cli.keys import MOST_USED, all_keys


class Widened(PreferenceDataModule):
    """Takes a key of its own."""

    def __init__(self, dataset: str, shelf: str = "top") -> None:
        super().__init__(dataset)
        self.shelf = shelf


_LOADS_NOTHING = """
import sys
from dpo_lightning.cli.door import main
from dpo_lightning.cli.family import NAMES
helps = [[name, "--help"] for name in NAMES]
for words in [*helps, ["fit", "--help-all"], ["help", "fit"], ["fti"], ["completion", "bash"]]:
    try:
        main(words)
    except SystemExit as stopped:
        assert bool(stopped.code) == (words == ["fti"]), words
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"torch", "lightning", "transformers", "datasets", "jsonargparse", "rich", "numpy"}, loaded
"""


def shown(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """What the command prints."""
    found = 0
    try:
        main([*words])
    except SystemExit as stopped:
        found = stopped.code or 0
    said = capsys.readouterr()
    assert found == code, said.err
    return said.out if code == 0 else said.err


def test_help_and_completion_load_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADS_NOTHING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_each_command_has_a_short_help_of_its_own(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = shown(capsys, name, "--help")
    lines = text.splitlines()
    assert lines[0].startswith(f"usage: dpo-lightning {name}")
    assert len(lines) <= 75
    assert f"  dpo-lightning {name}" in text or name == "completion"
    assert max(map(len, lines[1:])) <= 80
    assert shown(capsys, "help", name) == shown(capsys, name, "-h") == text


def test_the_short_help_of_fit_has_the_most_used_keys_with_type_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "fit", "--config", "run.yaml", "--help")
    for section, names in MOST_USED.items():
        assert all(f"  --{section}.{name}" in text for name in names)
    assert "  --data.max_length=1024 (a whole number)\n" in text
    assert "  --model.policy (required) (" in text


def test_the_whole_is_reachable(capsys: pytest.CaptureFixture[str]) -> None:
    whole = shown(capsys, "fit", "--help-all")
    assert all(f"  --{each.name}" in whole for each in all_keys())
    assert "SimPO" in whole
    of_data = shown(capsys, "validate", "--data.help")
    assert "--data.eos=" in of_data
    assert "--model.policy" not in of_data
    assert "--trainer.max_time=" in shown(capsys, "fit", "--trainer.help", "--config=x.yaml")


def test_keys_of_a_section_are_shown_by_every_command_that_takes_them(capsys: pytest.CaptureFixture[str]) -> None:
    of_model = shown(capsys, "plan", "--config", "run.yaml", "--model.help")
    assert "--model.policy" in of_model
    assert "--gpu" not in of_model
    for words in (["inspect"], ["data", "export"]):
        text = shown(capsys, *words, "--data.help")
        assert "--data.eos=" in text
        assert "--model.policy" not in text
        assert "--model.policy" not in shown(capsys, *words, "--help-all")
    assert "--html" in shown(capsys, "inspect", "--model.help")  # it takes none of these
    assert "--config RUN.yaml" in shown(capsys, "data", "export", "--help")


@pytest.mark.parametrize("words", [["--data=tests.cli.test_help.Widened"], ["--data", "tests.cli.test_help.Widened"]])
def test_keys_of_another_class_are_its_own(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "--data.shelf" in shown(capsys, "fit", *words, "--data.help")


def test_help_of_a_class_is_the_parsers(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "fit", "--model.objective.help", "SimPO")
    assert "gamma" in text
    assert "usage: dpo-lightning fit" not in text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["fti"], "error: unknown command `fti`; did you mean `fit`?\n"),
        (["FIT", "--config", "x.yaml"], "error: unknown command `FIT`; did you mean `fit`?\n"),
        (["help", "exprot"], "error: unknown command `exprot`; did you mean `export`?\n"),
        (["zzzzzz"], f"error: unknown command `zzzzzz`; there are {', '.join(NAMES)}\n"),
    ],
)
def test_a_mistyped_command_is_answered_with_the_nearest(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(capsys, *words, code=2) == line


def test_help_of_an_action_is_of_the_action(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--corrupt" in shown(capsys, "cache", "prune", "--help")
    assert "--corrupt" not in shown(capsys, "cache", "--help")
    assert "--help" in shown(capsys, "inspect", "pairs.jsonl", "--help")
