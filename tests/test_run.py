"""What callbacks get where the run's module is none of ours."""

from __future__ import annotations

import lightning.pytorch as pl
import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.run import PreferenceRun, run_of
from tests.helpers.runs import module


def test_a_module_of_ours_is_a_run() -> None:
    fitted = module()

    assert isinstance(fitted, PreferenceRun)
    assert run_of(fitted, "Export") is fitted


def test_another_module_is_refused_by_the_callbacks_name() -> None:
    with pytest.raises(InputError, match=r"^Export works with a PreferenceModule, and the run's module is Lightning"):
        run_of(pl.LightningModule(), "Export")
