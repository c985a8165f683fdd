"""A record is kept where a later run writes its own in the same directory."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from lightning.pytorch.strategies import DDPStrategy

from dpo_lightning import PlotLogger, SampleTable
from dpo_lightning.callbacks import KeepRecord
from dpo_lightning.callbacks.record_places import record_of, set_aside
from dpo_lightning.report.record import RunRecord, read_document, read_rows
from dpo_lightning.report.runs import runs_at
from dpo_lightning.utils.ranks import this_rank
from tests.helpers.ranks import run_ranks
from tests.helpers.runs import data, module, trainer, write_rows
from tests.helpers.tiny import tiny_tokenizer


def fit(path: Path, steps: int, ckpt_path: Path | None = None, *, callbacks: Any = (KeepRecord,)) -> Any:
    """Fit with a logger that has no directory, and save the last step."""
    table = SampleTable(prompts=1, samples_per_prompt=1, max_new_tokens=1)
    logger = PlotLogger(str(path / "curves.png"))
    made = [table, *(make() for make in callbacks)]
    run = trainer(logger=logger, callbacks=made, default_root_dir=path, max_steps=steps)
    run.fit(module(), data(path), ckpt_path=ckpt_path)
    run.save_checkpoint(path / f"{steps}.ckpt")
    return run


def facts(path: Path) -> dict[str, Any]:
    found = read_document(RunRecord(path).facts)
    assert found is not None
    return found


def samples(path: Path) -> list[int]:
    return [row["step"] for row in read_rows(RunRecord(path).samples)]


def test_a_later_run_in_the_same_place_keeps_the_earlier_ones(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "config.yaml").write_text("seed_everything: 1\n")
    with caplog.at_level("INFO"):
        for steps in (1, 2, 3):
            fit(tmp_path, steps)
    places = [tmp_path / "earlier-1", tmp_path / "earlier-2", tmp_path]
    assert [facts(place)["step"] for place in places] == [1, 2, 3]
    assert [samples(place) for place in places] == [[0, 1], [0, 2], [0, 3]]
    assert [runs_at(place) for place in places] == [[place] for place in places]
    assert (tmp_path / "earlier-2/config.yaml").exists()
    said = [message for message in caplog.messages if message.startswith("the record of an earlier run is in ")]
    assert [line.split("/")[-1] for line in said] == ["earlier-1 now", "earlier-2 now"]


def test_a_run_that_goes_on_keeps_its_own_and_no_other_ones(tmp_path: Path) -> None:
    fit(tmp_path, 2)
    fit(tmp_path, 4, tmp_path / "2.ckpt")
    assert not (tmp_path / "earlier-1").exists()
    assert [row["step"] for row in read_rows(RunRecord(tmp_path).points)] == [0, 1, 2, 3, 4]
    assert samples(tmp_path) == [0, 2, 4]
    record = RunRecord(tmp_path)
    record.facts.write_text(record.facts.read_text().replace(facts(tmp_path)["began"], "2001-01-01T00:00:00+00:00"))
    fit(tmp_path, 5, tmp_path / "4.ckpt")
    assert (facts(tmp_path / "earlier-1")["step"], facts(tmp_path)["step"]) == (4, 5)


def test_samples_are_kept_without_a_record_too(tmp_path: Path) -> None:
    for steps in (1, 2):
        fit(tmp_path, steps, callbacks=())
    assert (samples(tmp_path / "earlier-1"), samples(tmp_path)) == ([0, 1], [0, 2])


def test_what_cannot_be_moved_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = RunRecord(tmp_path)
    record.folder.mkdir()
    monkeypatch.setattr(Path, "rename", Mock(side_effect=PermissionError(13, "Permission denied")))
    with pytest.warns(UserWarning, match=r"earlier-1 could not be written: Permission denied"):
        set_aside(Mock(is_global_zero=True), record)


@pytest.mark.parametrize(
    "settings", [{"loggers": []}, {"fast_dev_run": 1}, {"log_dir": "s3://bucket/run"}, {"default_root_dir": "s3://b"}]
)
def test_none_is_kept_of_a_trial_or_elsewhere(settings: dict[str, Any]) -> None:
    given: dict[str, Any] = {"loggers": [1], "fast_dev_run": 0, "log_dir": None, "default_root_dir": "runs"}
    found = record_of(Mock(**given))
    assert found is not None
    assert found.run == Path("runs").absolute()
    assert record_of(Mock(**{**given, **settings})) is None


def logging_on_rank_zero(path: Path) -> None:
    """A fit of which only one rank has a logger."""
    logger = PlotLogger(str(path / "curves.png")) if this_rank() == 0 else False
    strategy = DDPStrategy(process_group_backend="gloo", timeout=timedelta(seconds=60))
    table = SampleTable(prompts=1, samples_per_prompt=1, max_new_tokens=1)
    settings: dict[str, Any] = {"logger": logger, "strategy": strategy, "callbacks": [KeepRecord(), table]}
    run = trainer(devices=2, default_root_dir=path, log_every_n_steps=2, max_steps=2, **settings)
    run.fit(module(), data(path, tokenizer=tiny_tokenizer()))


def test_loggers_of_one_rank_alone_stop_no_other(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl")
    run_ranks(logging_on_rank_zero, tmp_path, output=tmp_path)
    assert [row["step"] for row in read_rows(RunRecord(tmp_path).points) if "train/loss" in row] == [0, 2]
    assert samples(tmp_path) == [0, 2]
