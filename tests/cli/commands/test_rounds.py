"""`dpo-lightning rounds`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dpo_lightning.cli.commands import rounds as command
from dpo_lightning.cli.main import main
from tests.cli.loop.a_loop import in_this_process, written

CONFIGS = Path(__file__).resolve().parents[3] / "configs"

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_are_printed_and_nothing_is_written(here, capsys):
    file = written(here)
    main(["rounds", "--config", str(file), "--out", "else where", "--print"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "round 1, generate:"
    assert lines[1].startswith("  dpo-lightning generate model --config 'else where/round-1/fit.yaml' --prompts ")
    assert not (here / "else where").exists()


def test_all_steps_end_in_a_table_and_a_picture(here, capsys, monkeypatch):
    """No model: each command leaves a file of its kind."""
    asked = []

    def call(words):
        asked.append(words[0])
        out = Path(words[words.index("--out") + 1]) if "--out" in words else Path(words[2]).parent / "model/x"
        out.parent.mkdir(exist_ok=True)
        out.write_text(json.dumps({"scores": [len(asked), 2.0], "ended": [True, False]}) + "\n")
        return 0

    monkeypatch.setattr(command, "call_in_process", call)
    main(["rounds", "--config", str(written(here))])
    first = ["generate", "score", "pair", "fit"]
    assert asked == [*first, "generate", "score", "score", "pair", "fit", "generate", "score", "score"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[-5:-1]] == [
        ["round", "samples'", "score", "ended", "pairs", "KL", "to", "first,", "nats"],
        ["1", "2", "50%", "1", "0"],
        ["2", "4", "50%", "1", "4.5"],
        ["last", "6.5", "50%", "7"],
    ]
    assert lines[-1] == "policy in out/round-2/model, picture in out/rounds.png"
    assert (here / "out/rounds.png").stat().st_size > 5000


def test_ctrl_c_says_how_to_go_on(here, capsys, monkeypatch):
    def call(words):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "call_in_process", call)
    with pytest.raises(SystemExit) as end:
        main(["rounds", "--config", str(written(here))])
    assert end.value.code == 130
    assert capsys.readouterr().err == "stopped: what is done is in out; the same command goes on from there\n"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"generate__sampels": 2}, "error: generate.sampels: no option of dpo-lightning generate; did you mean"),
        ({"fit__model__policy": "x"}, "error: fit.model.policy: the loop fills it in"),
        ({"rounds__out": "prompts.jsonl"}, "error: rounds --out"),
    ],
)
def test_a_wrong_config_is_one_line(here, changes, line):
    with pytest.raises(SystemExit) as end:
        main(["rounds", "--config", str(written(here, **changes))])
    assert str(end.value.code).startswith(line)
    assert len(str(end.value.code).splitlines()) == 1
    assert not (here / "out").exists()


def test_the_shipped_config_trains_a_tiny_model(here, monkeypatch, capsys):
    """Its own values, but for the model, the device, the scorer and the sizes; each command in this process."""
    file = written(here, model=True)
    small = yaml.safe_load(file.read_text())
    shipped = yaml.safe_load((CONFIGS / "iterative.yaml").read_text())
    shipped["rounds"] |= {**small["rounds"], "number": 1, "prompts_per_round": 4}
    shipped["generate"] |= {"max_new_tokens": 8}
    shipped["score"], shipped["pair"]["keep_cut"] = small["score"], True
    shipped["fit"]["data"] |= {"val_split": 0.25, "max_length": 64}
    shipped["fit"]["trainer"] |= {"accelerator": "cpu", "precision": "32-true", "enable_progress_bar": False}
    shipped["fit"]["trainer"]["callbacks"][1]["init_args"]["max_new_tokens"] = 4
    file.write_text(yaml.safe_dump(shipped))
    monkeypatch.setattr(command, "call_in_process", in_this_process)
    main(["rounds", "--config", str(file)])
    assert "policy in out/round-1/model" in capsys.readouterr().out
    assert (here / "out/round-1/model/model.safetensors").is_file()
    assert (here / "out/round-1/samples.md").is_file()
