"""Training steps of KTOTrainer of TRL 1.16.0 and of ours, on the same mismatched completions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data import collate_tree
from dpo_lightning.losses import KTO, APOZeroUnpaired
from tests.parity.steps import BATCH, Scene, assert_runs_agree, fit_module, make_module, sgd, train
from tests.parity.trl_side import RecordingKTOTrainer, make_kto_trainer


def labelled(scene: Scene) -> list[dict[str, Any]]:
    """Three desirable completions for each undesirable one."""
    named = [(row, "rejected" if number % 4 == 3 else "chosen") for number, row in enumerate(scene.world.rows)]
    return [{"prompt": row["prompt"], "completion": row[name], "label": name == "chosen"} for row, name in named]


def as_trl_pairs_them(trainer: RecordingKTOTrainer) -> DataLoader:
    """TRL's rows and mismatched completions: in each batch, every prompt gets the completion of the one before."""
    rows = trainer.train_dataset
    pairs = [
        TokenizedExample.labelled(
            number, row["prompt_ids"], row["completion_ids"], row["label"], row["KL_completion_ids"]
        )
        for number, row in enumerate(rows)
    ]
    first = [pair.completion_ids[0] for pair in pairs[:BATCH]]
    assert [pair.mismatched_ids for pair in pairs[:BATCH]] == [first[-1], *first[:-1]]
    return DataLoader(pairs, batch_size=BATCH, collate_fn=collate_tree)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.7, 1.4)], ids=["equal", "weighted"])
def test_steps_agree(scene: Scene, weights: tuple[float, float], tmp_path: Path) -> None:
    settings = {"desirable_weight": weights[0], "undesirable_weight": weights[1]}
    trainer = make_kto_trainer(scene.world, tmp_path, labelled(scene), beta=0.5, **settings, **sgd(scene))
    loader = as_trl_pairs_them(trainer)
    theirs = train(scene, trainer)
    ours = fit_module(scene, make_module(scene, KTO(0.5, **settings)), loader)
    assert_runs_agree(ours, theirs)
    assert trainer.kls[0] > 0.01, "an estimate that counts"
    assert trainer.kls[1] == 0.0, "one that is clamped"


def test_steps_of_apo_zero_agree(scene: Scene, tmp_path: Path) -> None:
    settings = {"desirable_weight": 0.7, "undesirable_weight": 1.4}
    rows = labelled(scene)
    trainer = make_kto_trainer(
        scene.world, tmp_path, rows, beta=0.5, loss_type="apo_zero_unpaired", **settings, **sgd(scene)
    )
    pairs = [
        TokenizedExample.labelled(number, row["prompt_ids"], row["completion_ids"], row["label"])
        for number, row in enumerate(trainer.train_dataset)
    ]
    theirs = train(scene, trainer)
    loader = DataLoader(pairs, batch_size=BATCH, collate_fn=collate_tree)
    ours = fit_module(scene, make_module(scene, APOZeroUnpaired(0.5, **settings)), loader)
    assert_runs_agree(ours, theirs)
