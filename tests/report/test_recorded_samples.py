"""What a record says of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from dpo_lightning.report.model_card import Card
from dpo_lightning.report.record import RunRecord, add_row
from dpo_lightning.report.recorded_samples import card_at, shown_samples


def test_those_of_the_last_step_are_shown(tmp_path: Path) -> None:
    record = RunRecord(tmp_path)
    assert shown_samples(record, 3) == shown_samples(None, 3) == []
    for step in (0, 5):
        for prompt in "abc":
            add_row(record.samples, {"step": step, "prompt": prompt})
    assert shown_samples(record, 2) == [{"step": 5, "prompt": "a"}, {"step": 5, "prompt": "b"}]
    assert shown_samples(record, 1, step=0) == [{"step": 0, "prompt": "a"}]
    assert shown_samples(record, 1, step=3) == []
    assert shown_samples(record, 0) == []
    record.samples.write_text("damaged\n")
    assert shown_samples(record, 2) == []


def test_a_card_has_the_values_of_its_own_weights(tmp_path: Path) -> None:
    record = RunRecord(tmp_path)
    for step, loss in ((4, 0.5), (8, 0.1), (12, 0.9)):
        add_row(record.points, {"step": step, "seconds": 1.0, "val/loss": loss})
    card = Card({"step": 12, "seed": 1}, {"val/loss": 0.9})
    assert card_at(card, record, 8).facts == {"step": 8, "seed": 1}
    assert card_at(card, record, 8).metrics["val/loss"] == 0.1
    assert card_at(card, record, 9).metrics == {}
    assert card_at(card, None, 8).metrics == {}
