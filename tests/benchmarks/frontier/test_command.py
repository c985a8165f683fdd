"""`python -m benchmarks.frontier`, as a user types it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.frontier import Protocol, command
from benchmarks.frontier.catalogue import CATALOGUE
from benchmarks.frontier.protocol import Run
from dpo_lightning.lab import PolicyRecipe
from tests.benchmarks.frontier.made_up import measured

TINY = Protocol(
    samples_per_prompt=2,
    max_new_tokens=12,
    batch_pairs=8,
    recipe=PolicyRecipe(hidden_size=16, layers=1, heads=2, texts=32),
)
SMALL = ("--pairs", "16", "--prompts", "4", "--out", "out")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def made_up(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No training: each run's reward is its seed, and what was run is listed; a name in `failing` fails."""
    ran: list[str] = []

    def work(tasks, root, workers):
        for number, task in enumerate(tasks):
            ran.append(f"{task.name} {task.seed}")
            failing = (project / "failing").exists() and task.name == "DPO"
            result = Run(task, measured(float(task.seed), number + 1.0), 0.1)
            yield task, ValueError("no luck") if failing else result

    monkeypatch.setattr(command, "work", work)
    monkeypatch.setattr(command, "prepare_world", lambda root, protocol, lists: root.mkdir(parents=True, exist_ok=True))
    return ran


def run(*words: str) -> int | str:
    """The exit code of the command, or the line that it ends with."""
    try:
        command.main(words, TINY)
    except SystemExit as end:
        return end.code or 0
    return 0


def stored(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "out/runs.jsonl").read_text().splitlines()]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_trains_measures_shows_and_writes(project, capsys):
    """With real workers, and nothing made up."""
    words = ("--objectives", "DPO", "--seeds", "1", "--no_sweep", "--workers", "1", "--docs", "docs/page.md")
    assert run(*SMALL, *words) == 0
    rows = {row["name"]: row for row in stored(project)}
    assert set(rows) == {"starting policy", "DPO"}
    assert rows["starting policy"]["kl"]["mean"] == 0
    assert rows["DPO"]["kl"]["mean"] > 0
    shown, page = capsys.readouterr().out, (project / "docs/page.md").read_text()
    for row in rows.values():
        for cell in (f"{row[field]['mean']:.2f} ± {row[field]['error']:.2f}" for field in ("reward", "kl")):
            assert cell in shown
            assert cell in page
    assert (project / "out/frontier.png").stat().st_size > 10_000
    assert (project / "docs/page_frontier.png").stat().st_size > 10_000


def test_a_second_start_runs_what_is_missing(made_up, project, capsys):
    words = ("--objectives", "DPO,SFT", "--no_sweep")
    assert run(*SMALL, *words, "--seeds", "1") == 0
    assert made_up == ["starting policy 0", "DPO 0", "SFT 0"]
    before = (project / "out/runs.jsonl").read_text()
    made_up.clear()
    assert run(*SMALL, *words, "--seeds", "3") == 0
    assert made_up == [f"{name} {seed}" for seed in (1, 2) for name in ("starting policy", "DPO", "SFT")]
    assert (project / "out/runs.jsonl").read_text().startswith(before)
    made_up.clear()
    capsys.readouterr()
    assert run(*SMALL, *words, "--seeds", "3") == 0
    assert made_up == []
    assert "1.00 ± 0.58" in capsys.readouterr().out


def test_seeds_follow_the_first(made_up, capsys):
    """Reward 7.5 is the mean of seeds 7 and 8."""
    words = ("--objectives", "DPO", "--no_sweep", "--seeds", "2")
    assert run(*SMALL, *words, "--first_seed", "7") == 0
    assert made_up == [f"{name} {seed}" for seed in (7, 8) for name in ("starting policy", "DPO")]
    assert "7.50 ± 0.50" in capsys.readouterr().out
    made_up.clear()
    assert run(*SMALL, *words) == 0
    assert made_up == [f"{name} {seed}" for seed in (0, 1) for name in ("starting policy", "DPO")]
    assert "0.50 ± 0.50" in capsys.readouterr().out


def test_other_settings_are_not_mixed(made_up, capsys):
    assert run(*SMALL, "--objectives", "DPO", "--no_sweep", "--seeds", "3") == 0
    capsys.readouterr()
    made_up.clear()
    assert run(*SMALL, "--objectives", "DPO", "--no_sweep", "--seeds", "1", "--pairs", "24") == 0
    assert made_up == ["starting policy 0", "DPO 0"]
    assert "0.00 ± 0.10" in capsys.readouterr().out


def test_a_point_of_a_sweep_is_run_once(made_up):
    assert run(*SMALL, "--objectives", "DPO", "--seeds", "1") == 0
    assert made_up[:2] == ["starting policy 0", "DPO 0"]
    assert len(made_up) > 3
    settings = [row["settings"]["objective"] for row in stored(Path())]
    assert len(set(settings)) == len(settings)


def test_a_run_that_fails_is_told_and_tried_again(made_up, project, capsys):
    words = ("--objectives", "DPO,SFT", "--no_sweep", "--seeds", "1")
    (project / "failing").touch()
    assert run(*SMALL, *words) == "error: frontier: 1 runs failed; the same command tries them again"
    shown = capsys.readouterr().out
    assert "failed: DPO, seed 0: no luck" in shown
    assert "SFT" in shown
    assert [row["name"] for row in stored(project)] == ["starting policy", "SFT"]
    (project / "failing").unlink()
    made_up.clear()
    assert run(*SMALL, *words) == 0
    assert made_up == ["DPO 0"]


def test_runs_are_taken_from_another_file(made_up, project):
    """A name may have a comma with a space after it."""
    words = ("--objectives", "DPO,BCO, unpaired", "--no_sweep", "--seeds", "1", "--runs", "kept.jsonl")
    assert run(*SMALL, *words) == 0
    assert made_up == ["starting policy 0", "DPO 0", "BCO, unpaired 0"]
    made_up.clear()
    assert run(*SMALL, *words) == 0
    assert made_up == []
    assert not (project / "out/runs.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--objectives", "DPO,KTOO"], "no objective 'KTOO' in the catalogue; the nearest is 'KTO'"),
        (["--objectives", ""], "no objective '' in the catalogue"),
        (["--seeds", "0"], "argument --seeds: at least 1, got '0'"),
        (["--first_seed", "-1"], "argument --first_seed: at least 0, got '-1'"),
        (["--workers", "two"], "argument --workers: at least 1, got 'two'"),
        (["--beta", "1"], "unrecognized arguments: --beta 1"),
        (["mountain"], "unrecognized arguments: mountain"),
    ],
)
def test_bad_arguments_give_one_line(project, capsys, words, line):
    code = run(*words)
    text = code if isinstance(code, str) else capsys.readouterr().err
    assert code not in (0, None)
    assert line in text
    assert text.startswith("error: ")
    assert len(text.strip().splitlines()) == 1
    assert list(project.iterdir()) == []


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_too_many_prompts_are_refused_before_anything_is_trained(project):
    line = run("--pairs", "16", "--prompts", "500", "--out", "out")
    assert re.fullmatch(r"error: frontier: the lab has \d+ held-out prompts, not 500", line)
    assert not (project / "out/runs.jsonl").exists()


def is_running(pid: str) -> bool:
    """Whether the process is still there after a while; a zombie has ended."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.1)
    return True


def test_ctrl_c_ends_the_workers_and_keeps_what_is_done(project):
    (project / "frontier.py").write_text(
        "import signal\n"
        "from tests.benchmarks.frontier.test_command import SMALL, TINY, command\n"
        "if __name__ == '__main__':\n"
        # A shell's background jobs begin with Ctrl-C ignored, and so do their children.
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    command.main([*SMALL, '--no_sweep', '--workers', '1', '--seeds', '9'], TINY)\n"
    )
    root = Path(__file__).resolve().parents[3]
    started = subprocess.Popen(
        [sys.executable, "frontier.py"],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    runs = project / "out/runs.jsonl"
    while started.poll() is None and not runs.exists():
        time.sleep(0.1)
    workers = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 130, errors
    assert errors.strip().splitlines()[-1] == (
        "stopped: what was done is in out/runs.jsonl; the same command goes on from there"
    )
    assert "Traceback" not in errors
    assert workers
    assert not any(is_running(pid) for pid in workers)
    assert 1 <= len(stored(project)) < len(CATALOGUE)
