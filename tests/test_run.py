"""What callbacks get where the run's module, or its DataModule, is none of ours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from torch.utils.data import DataLoader

import dpo_lightning
from dpo_lightning import Precomputed, PreferenceModule, SimPO
from dpo_lightning.batch import collate_padded
from dpo_lightning.errors import InputError
from dpo_lightning.run import PreferenceRun, preference_batch_of, reference_in_the_step, run_of, source_of
from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import PAIRS, tiny_llama


def test_a_module_of_ours_is_a_run() -> None:
    fitted = module()

    assert isinstance(fitted, PreferenceRun)
    assert run_of(fitted, "Export") is fitted


def test_another_module_is_refused_by_the_callbacks_name() -> None:
    with pytest.raises(InputError, match=r"^Export works with a PreferenceModule, and the run's module is Lightning"):
        run_of(pl.LightningModule(), "Export")


def test_the_data_of_a_run_are_known_where_they_are_ours(tmp_path) -> None:
    asked = []

    class Asks(pl.Callback):
        def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            asked.append(source_of(trainer))

    source = data(tmp_path)
    trainer(max_steps=1, callbacks=[Asks()]).fit(module(), source)
    source.setup("fit")
    trainer(max_steps=1, callbacks=[Asks()]).fit(module(), source.train_dataloader())

    assert asked == [source, None]


def test_a_step_scores_a_reference_that_is_not_scored_before() -> None:
    assert reference_in_the_step(module())
    assert not reference_in_the_step(module(reference=Precomputed()))
    assert not reference_in_the_step(module(objective=SimPO()))


class Asked(PreferenceModule):
    """Counts how often it is asked, and answers with another copy each time."""

    calls = 0

    def preference_batch(self, batch: Any) -> Any:
        """Count."""
        self.calls += 1
        return batch["pairs"]._replace(example_weight=None)


def test_a_module_is_asked_as_often_with_any_callbacks(tmp_path: Path) -> None:
    loader = DataLoader(PAIRS, batch_size=1, collate_fn=lambda pairs: {"pairs": collate_padded(pairs)})  # type: ignore[arg-type]
    model = Asked(tiny_llama(), step_zero_check=False)
    run = trainer(max_epochs=1, max_steps=-1, num_sanity_val_steps=0, default_root_dir=tmp_path)
    run.fit(model, loader, loader)

    # Once before each step of the training, for all callbacks, and once by each of its steps and of the validation's.
    assert model.calls == 3 + 3 + 3
    assert model.found_batch is None


def test_callbacks_after_a_step_have_its_batch() -> None:
    model = Asked(tiny_llama(), step_zero_check=False)
    batch = {"pairs": collate_padded(PAIRS)}
    before = preference_batch_of(model, batch)
    assert preference_batch_of(model, batch) is before
    own = model.own_batch(batch, "training_step")
    assert own is not before
    assert preference_batch_of(model, batch) is own
    assert preference_batch_of(model, {**batch}) is not own


def test_one_place_tells_our_data_from_others() -> None:
    files = Path(dpo_lightning.__file__).parent.rglob("*.py")

    asking = [file.name for file in files if re.search(r"isinstance\(.*PreferenceSource", file.read_text("utf-8"))]
    assert asking == ["run.py"]
