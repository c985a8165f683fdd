"""A reference of one's own, in a file beside the script, and a checkpoint that another process loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers import runs

REPOSITORY = Path(__file__).resolve().parents[2]

OWN = """
import copy
from dataclasses import dataclass
from dpo_lightning import FrozenCopy, Reference

@dataclass(frozen=True)
class Halved(Reference):
    by: float = 0.5

    def bind(self, policy):
        other = copy.deepcopy(policy)
        for weight in other.parameters():
            weight.data *= self.by
        return FrozenCopy().bind(other)
"""
LOADS = """
import sys
from dpo_lightning import PreferenceModule
from dpo_lightning.errors import InputError
try:
    PreferenceModule.load_from_checkpoint(sys.argv[1])
except InputError as error:
    print(error)
assert "own_reference" not in sys.modules
import own_reference
loaded = PreferenceModule.load_from_checkpoint(sys.argv[1])
print(loaded.reference_settings, type(loaded.reference_settings).__module__)
"""


def elsewhere(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Load in a process that has not imported the reference's module, and then has."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])}
    script = [sys.executable, "-c", LOADS, str(tmp_path / "a.ckpt")]
    return subprocess.run(script, env=environment, capture_output=True, text=True, check=False)


def test_a_reference_of_ones_own_is_that_of_another_process_too(run, tmp_path, monkeypatch):
    (tmp_path / "own_reference.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    from own_reference import Halved

    model = runs.module(runs.saved_model(tmp_path / "model"), reference=Halved(0.25), step_zero_check=False)
    run(module=model, max_epochs=1).trainer.save_checkpoint(tmp_path / "a.ckpt")
    done = elsewhere(tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    unknown, imported = done.stdout.splitlines()[-2:]
    assert "its reference: 'own_reference.Halved' is no class of this package" in unknown
    assert "import own_reference first if you trust it" in unknown
    assert imported == "Halved(by=0.25) own_reference"
