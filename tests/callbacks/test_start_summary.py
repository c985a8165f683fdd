"""What a fit says before its first step, of runs that are really made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from dpo_lightning import KTO, LoRA, PreferenceDataModule, ResumableCheckpoint
from tests.helpers.runs import KeptElsewhere, data, module, rows, trainer, write_rows
from tests.helpers.tiny import tiny_tokenizer


def said_by(caplog: pytest.LogCaptureFixture, model: Any, source: Any, **settings: Any) -> dict[str, str]:
    """Run a fit, and return the lines of its start by their labels."""
    with caplog.at_level("INFO"):
        trainer(**settings).fit(model, source)
    return labelled(caplog)


def labelled(caplog: pytest.LogCaptureFixture) -> dict[str, str]:
    found = [message for message in caplog.messages if "\nobjective  " in message]
    assert len(found) == 1
    lines: dict[str, str] = {}
    for line in found[0].splitlines():
        label = line[:11].strip()
        lines[label or [*lines][-1]] = line[11:] if label else f"{lines[[*lines][-1]]} {line[11:]}"
    return lines


def test_the_numbers_are_those_of_the_batches_that_come(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []

    class Counts(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(batch.input_ids.numel())

    source = data(tmp_path, count=24)
    lines = said_by(caplog, module(), source, max_epochs=1, max_steps=-1, callbacks=[Counts()])

    assert lines["examples"] == "24 pairs to train on, 8 held out"
    assert lines["steps"] == (
        f"6 of 4 pairs, about {round(sum(seen) / 6)} tokens; an epoch is 6 steps, {sum(seen)} tokens"
    )
    assert lines["layout"].startswith("tree")
    assert lines["reference"] == "FrozenCopy: a copy of the policy as it is now"
    assert lines["optimizer"] == "AdamW, learning rate 0.001, Constant"
    assert lines["saves to"] == "nowhere: no checkpoints are kept"


def test_accumulation_limits_and_epochs_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = said_by(
        caplog,
        module(lora=LoRA(r=2)),
        data(tmp_path, count=48),
        max_epochs=2,
        max_steps=-1,
        accumulate_grad_batches=2,
        limit_train_batches=6,
    )
    assert lines["steps"].startswith("6 of 8 pairs, about ")
    assert "2 epochs, each 3 steps" in lines["steps"]
    assert "adapters: LORA rank 2" in lines["model"]
    assert lines["reference"].startswith("AdapterOff")


def test_labelled_completions_in_the_padded_layout(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labelled_rows = [
        {"prompt": row["prompt"], "completion": row["chosen" if n % 2 else "rejected"], "label": bool(n % 2)}
        for n, row in enumerate(rows(16))
    ]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labelled_rows))
    source = PreferenceDataModule(
        str(tmp_path / "labels.jsonl"), tiny_tokenizer(), batch_pairs=4, layout="padded", max_length=48
    )
    lines = said_by(caplog, module(objective=KTO()), source, max_steps=1)

    assert lines["examples"] == "16 completions to train on, none held out"
    assert lines["layout"] == "padded: a row for each completion"


def test_what_was_dropped_is_said_with_its_reasons(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = [{"prompt": "the sun:", "chosen": " yes", "rejected": " yes"}, {"prompt": "a", "chosen": "", "rejected": "b"}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows(16), *bad]))
    source = PreferenceDataModule(str(tmp_path / "pairs.jsonl"), tiny_tokenizer(), batch_pairs=4)
    lines = said_by(caplog, module(), source, max_steps=1)

    assert lines["examples"] == (
        "16 pairs to train on, none held out; 2 dropped: 1 with an empty completion, 1 whose completions are identical "
        "after truncation"
    )


def test_a_run_that_goes_on_says_from_where(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saving = str(tmp_path / "saved")
    for steps in (2, 3):
        caplog.clear()
        run = trainer(max_steps=steps, enable_checkpointing=True, callbacks=[ResumableCheckpoint(saving)])
        with caplog.at_level("INFO"):
            run.fit(module(), data(tmp_path), ckpt_path=None if steps == 2 else "last")

    lines = labelled(caplog)
    assert lines["goes on"].endswith("step=2.ckpt, after optimizer step 2")
    assert lines["saves to"].endswith("saved")


def test_a_stream_has_no_number_of_examples(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = PreferenceDataModule(
        write_rows(tmp_path / "pairs.jsonl"), tiny_tokenizer(), streaming=True, batch_pairs=4, shuffle_buffer=1
    )
    lines = said_by(caplog, module(), source, max_steps=2)

    assert lines["examples"] == "a stream of pairs to train on, none held out"
    assert lines["steps"] == "2 of 4 pairs"


def test_loaders_of_ones_own_are_no_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from dpo_lightning import collate_tree
    from tests.helpers.tiny import PAIRS

    loader = DataLoader(PAIRS, batch_size=1, collate_fn=collate_tree)  # type: ignore[arg-type]
    lines = said_by(caplog, module(), loader, max_steps=2)
    assert lines["steps" if "steps" in lines else "objective"]
    assert "examples" not in lines


def test_of_data_that_is_kept_elsewhere_the_rest_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = said_by(caplog, module(), KeptElsewhere(write_rows(tmp_path / "a.jsonl"), tiny_tokenizer()), max_steps=2)

    assert lines["steps"] == "2"
    assert lines["optimizer"] == "AdamW, learning rate 0.001, Constant"
    assert lines["reference"] == "FrozenCopy: a copy of the policy as it is now"
    assert not {"examples", "layout"} & lines.keys()
    assert "cannot be said" not in caplog.text


def test_a_line_that_cannot_be_said_takes_no_other_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = module()
    model.hparams["schedule"] = {"init_args": {}}  # has no class
    lines = said_by(caplog, model, data(tmp_path), max_steps=1)

    assert lines["optimizer"] == "AdamW, learning rate 0.001"
    assert lines["examples"] == "24 pairs to train on, 8 held out"


def test_nothing_random_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses are those of a run that says nothing."""
    from dpo_lightning.callbacks import StartSummary
    from tests.helpers.runs import fit

    torch.manual_seed(0)
    _, told = fit(tmp_path, module())
    monkeypatch.setattr(StartSummary, "on_train_start", lambda *args: None)
    torch.manual_seed(0)
    _, silent = fit(tmp_path, module())
    assert told == silent
