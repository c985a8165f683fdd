"""A reference of one's own, in a file beside the script, and a checkpoint that another process loads."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from dpo_lightning import PreferenceModule
from dpo_lightning.errors import InputError
from tests.helpers import runs
from tests.helpers.ranks import succeed
from tests.helpers.resumable import in_processes

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


def load_elsewhere(_: int, path: Path) -> None:
    """Load in a process that has not imported the reference's module, and then has."""
    sys.path.insert(0, str(path))
    with pytest.raises(InputError) as refused:
        PreferenceModule.load_from_checkpoint(path / "a.ckpt")
    assert "own_reference" not in sys.modules
    importlib.import_module("own_reference")
    loaded = PreferenceModule.load_from_checkpoint(path / "a.ckpt")
    settings = loaded.reference_settings
    (path / "said").write_text(f"{refused.value}\n{settings} {type(settings).__module__}")


def test_a_reference_of_ones_own_is_that_of_another_process_too(run, tmp_path, monkeypatch):
    (tmp_path / "own_reference.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    from own_reference import Halved

    model = runs.module(runs.saved_model(tmp_path / "model"), reference=Halved(0.25), step_zero_check=False)
    run(module=model, max_epochs=1).trainer.save_checkpoint(tmp_path / "a.ckpt")
    succeed(in_processes(1, load_elsewhere, tmp_path, output=tmp_path), tmp_path)
    unknown, imported = (tmp_path / "said").read_text().splitlines()
    assert "its reference: 'own_reference.Halved' is no class of this package" in unknown
    assert "import own_reference first if you trust it" in unknown
    assert imported == "Halved(by=0.25) own_reference"
