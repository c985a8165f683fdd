"""A hub that cannot be reached: what was downloaded before is used, and what was not is named in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers.runs import saved_model, write_rows

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A config whose policy is a hub name, and a cache as the hub's client leaves it."""
    repository = tmp_path / "home/hub/models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(REVISION)
    saved_model(repository / "snapshots" / REVISION)
    config = {
        "model": {"policy": "someone/tiny"},
        "data": {"dataset": write_rows(tmp_path / "pairs.jsonl"), "batch_pairs": 4},
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        },
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def fit(project: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run with an address where nothing answers, and without the switch that says so."""
    environment = {**os.environ, "HF_HOME": str(project / "home"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-m", "dpo_lightning", "fit", "--config", "run.yaml", *flags]
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_model_that_was_downloaded_before_is_trained(project):
    done = fit(project)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "http://127.0.0.1:9 cannot be reached" in done.stderr
    assert "Retrying" not in done.stderr, "the hub is asked once, and not six times for each file"


def test_a_model_that_was_not_is_named_in_one_line(project):
    done = fit(project, "--model.policy=someone/else")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "someone/else" in last
    assert "Traceback" not in done.stderr
    assert "Retrying" not in done.stderr
