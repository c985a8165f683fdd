"""A whole fit as it is seen: in terminals of three widths, in a pipe, and its last lines as typed."""

from __future__ import annotations

import html
import os
import re
import shlex
from pathlib import Path

import pytest
import yaml

from dpo_lightning.cli.main import main
from dpo_lightning.report.record import read_document
from tests.helpers.ranks import run_command, succeed
from tests.helpers.runs import saved_model, write_rows
from tests.helpers.terminal import Seen, run_command_in_terminal, run_in_terminal

FIT = ["fit", "--config", "run.yaml"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a config of ten steps, two validations, samples and an export."""
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.chdir(tmp_path)
    table = {"path": "samples.md", "prompts": 2, "samples_per_prompt": 1, "max_new_tokens": 4}
    config = {
        "model": {"policy": saved_model(tmp_path / "policy"), "optimizer": {"lr": 1e-3}},
        "data": {"dataset": write_rows(tmp_path / "pairs.jsonl", 40), "val_split": "train[:8]", "batch_pairs": 4},
        "trainer": {
            "accelerator": "cpu",
            "val_check_interval": 0.5,
            "log_every_n_steps": 5,
            "callbacks": [
                {"class_path": "SampleTable", "init_args": table},
                {"class_path": "Export", "init_args": {"path": "model"}},
            ],
        },
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def forked(columns: int, variables: dict[str, str] | None = None) -> Seen:
    return run_command_in_terminal(FIT, Path.cwd(), columns, variables)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("columns", [80, 120, 200])
def test_a_terminal_shows_one_line_and_loses_none(columns: int) -> None:
    """Of a process of its own in the usual width: what its imports say is seen too."""
    seen = run_in_terminal(["-m", "dpo_lightning", *FIT], columns) if columns == 80 else forked(columns)

    assert seen.code == 0
    samples = seen.lines.index("Samples after step 10: 2 of 2 prompts")
    labels = [line[:11].rstrip() for line in seen.lines[:samples]]
    for label in ("examples", "steps", "layout", "model", "reference", "objective", "optimizer", "device", "files in"):
        assert labels.count(label) == 1, label
    assert "examples   40 pairs to train on, 8 held out" in seen.lines
    said = ["samples in samples.md", "exported to model", "ended at optimizer step 10, after"]
    for start in (*said, "held-out pairs: loss", "config in", "metrics in", "checkpoint in", "next: dpo-lightning"):
        assert len([line for line in seen.lines if line.startswith(start)]) == 1, start
    table = seen.lines[samples + 1 : seen.lines.index("samples in samples.md")]
    assert [line.split()[0] for line in table if line[:1].strip()] == ["prompt", "reference", "policy"] * 2
    assert not [line for line in seen.lines if re.match(r"(step|validation|check) \d", line)]
    assert [moment for moment in seen.moments if re.match(r"step \d+/10  ", moment)]
    text = "\n".join(seen.lines)
    unwanted = ("Tip", "LeafSpec", "deprecated", "v_num", "Epoch 0", "Writing model shards", "site-packages")
    for noise in (*unwanted, "Seed set", "GPU available", "TPU", "weights_only", "Trainer.fit", "Total params"):
        assert noise not in text, noise


@pytest.mark.parametrize(
    ("columns", "variables"), [(40, {"NO_COLOR": "1"}), (80, {"TERM": "dumb"})], ids=["narrow", "dumb"]
)
def test_other_terminals_lose_nothing_either(columns: int, variables: dict[str, str], here: Path) -> None:
    """With wide characters in names, a picture in the place of a table, and no colours or no rows."""
    (here / "policy").rename(here / "模型")
    config = yaml.safe_load((here / "run.yaml").read_text())
    config["model"]["policy"] = "模型"
    config["trainer"]["logger"] = {"class_path": "PlotLogger", "init_args": {"path": "曲線.png"}}
    (here / "run.yaml").write_text(yaml.safe_dump(config))
    seen = forked(columns, variables)

    assert seen.code == 0
    text = "".join(seen.lines)  # a long line goes on in the next row
    said = ("samples in samples.md", "exported to model", "ended at optimizer step 10, after", "held-out pairs: loss")
    for words in (*said, "config in config.yaml", "report in report.html", "next: dpo-lightning validate"):
        assert text.count(words) == 1, words
    rows = [line for line in seen.lines if re.match(r"(step|validation) \d+/\d+  ", line)]
    if columns == 80:  # a line each, as in a file
        assert [row.split("  ")[0] for row in rows] == ["step 5/10", "validation 2/2", "step 10/10", "validation 2/2"]
    else:
        assert not rows
        assert [moment for moment in seen.moments if re.match(r"step \d+/10  ", moment)]
    assert Path("曲線.png").exists()
    assert read_document(Path("record/run.json")) is not None


def test_a_log_file_grows_by_a_line_each_interval(here: Path) -> None:
    succeed(run_command(FIT, here), here)

    said = (here / "output-0.txt").read_text()
    lines = said.splitlines()
    steps = [line.split("  ")[0] for line in lines if re.match(r"(step|validation) \d", line)]
    assert steps == ["step 5/10", "validation 2/2", "step 10/10", "validation 2/2"]
    assert "\r" not in said.split("step 5/10")[1]
    assert "\x1b" not in said


@pytest.mark.usefixtures("here")
def test_the_next_commands_run_as_typed(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        main(FIT)
    typed = [message.replace("\\\n", " ").split("dpo-lightning ")[1:] for message in caplog.messages]
    commands = [shlex.split(command) for found in typed for command in found]
    assert [command[0] for command in commands] == ["validate", "generate", "report"]  # the run has exported itself
    held_out = [message for message in caplog.messages if message.startswith("held-out pairs: loss ")]
    run = read_document(Path("lightning_logs/version_0/record/run.json"))
    assert run is not None
    assert run["verdict"] == held_out
    assert held_out[0] in html.unescape(Path("lightning_logs/version_0/report.html").read_text())
    printed = {command[0]: outcome(command, capsys) for command in commands}
    assert held_out[0].split()[3].rstrip(",")[:5] in printed["validate"]
    assert "policy: " in printed["generate"]
    assert printed["report"].strip() == "report in lightning_logs/version_0/report.html"


def outcome(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints."""
    capsys.readouterr()
    main(command)
    return capsys.readouterr().out
