"""Draws the curves of runs in the lab, a healthy one and one for each fault: `python -m tools.docs.curves`.

The pictures are those of `docs/reading-the-curves.md`. Each run takes half a minute.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.optim import AdamW

from dpo_lightning import DPO, FDivergence, ForwardKL, PreferenceDataModule, PreferenceModule
from dpo_lightning.callbacks import HealthHints
from dpo_lightning.lab import LabDataModule
from dpo_lightning.losses import AnyObjective
from dpo_lightning.policy.sampling import sample_completions
from dpo_lightning.report.curves import figure_class
from dpo_lightning.report.record import RunRecord, add_row, read_rows
from dpo_lightning.training.schedules import Cosine

FOLDER = Path("docs/curves")
PAIRS, HELD_OUT, BATCH = 2000, 128, 16
RATE = 7e-4
Row = dict[str, str]
Change = Callable[[Sequence[Row]], list[Row]]


@dataclass(frozen=True)
class Planted:
    """A run of the lab, healthy or with a fault.

    Args:
        about: Title of the picture.
        shown: Curves that are drawn, a panel each: names without their stage.
        objective: The loss.
        change: What is done to the pairs to train on, and to the held-out ones.
        rate: Peak of the learning rate.
        trainer: Further arguments of the Trainer.
        samples: Whether samples are taken at each validation.
    """

    about: str
    shown: tuple[tuple[str, ...], ...]
    objective: AnyObjective = DPO(0.3)  # noqa: RUF009 - frozen
    change: Change = list
    rate: float = RATE
    trainer: Mapping[str, Any] = field(default_factory=dict)
    samples: bool = False


def _cut(row: Row) -> Row:
    return {**row, "rejected": row["rejected"].partition(".")[0] + "."}


def _cut_all(rows: Sequence[Row]) -> list[Row]:
    return [_cut(row) for row in rows]


def _shuffled(rows: Sequence[Row]) -> list[Row]:
    rng = random.Random(0)
    swapped = {"chosen": "rejected", "rejected": "chosen"}
    return [{name: row[swapped.get(name, name)] for name in row} if rng.random() < 0.5 else dict(row) for row in rows]


def _few(rows: Sequence[Row]) -> list[Row]:
    return list(rows[:64])


def _longer_chosen(rows: Sequence[Row]) -> list[Row]:
    return [
        {
            **row,
            "chosen": max(row["chosen"], row["rejected"], key=len),
            "rejected": min(row["chosen"], row["rejected"], key=len),
        }
        for row in rows
    ]


_LOSS, _ACCURACY, _NORM = ("loss",), ("rewards/accuracies",), ("grad_norm",)
_RATIOS, _REWARDS = (
    ("logratios/chosen", "logratios/rejected"),
    ("rewards/chosen", "rewards/rejected", "rewards/margins"),
)

RUNS: dict[str, Planted] = {
    "healthy": Planted("a healthy run", (_LOSS, _ACCURACY, _RATIOS, _NORM)),
    "chosen-falls": Planted("beta 0.03, ten times too small", (_RATIOS, _REWARDS), DPO(0.03)),
    "kl-runs-away": Planted(
        "labels by chance, and eight times the learning rate",
        (_RATIOS, ("logps/chosen", "logps/rejected")),
        change=_shuffled,
        rate=8 * RATE,
    ),
    "accuracy-perfect": Planted("every rejected completion is cut off", (_ACCURACY, _LOSS), change=_cut_all),
    "accuracy-stuck": Planted("half of the labels are flipped", (_ACCURACY, _LOSS), change=_shuffled),
    "loss-stuck": Planted("a learning rate of a thousandth", (_LOSS, _RATIOS), rate=RATE / 1000),
    "saturated": Planted("64 pairs, 30 epochs", (_LOSS, _NORM), DPO(1.0), _few, trainer={"max_epochs": 30}),
    "gradient-grows": Planted(
        "a loss with an exponential, and no clipping",
        (_NORM, _LOSS),
        FDivergence(DPO(0.3), ForwardKL()),
        rate=3e-4,
        trainer={"gradient_clip_val": None},
    ),
    "length-drift": Planted(
        "the longer completion is always the chosen one",
        (("words",), _ACCURACY),
        DPO(0.1),
        _longer_chosen,
        rate=RATE,
        samples=True,
    ),
    "updates-lost": Planted(
        "bf16-true, and a learning rate of 1e-5", (_LOSS, _RATIOS), rate=1e-5, trainer={"precision": "bf16-true"}
    ),
}


class SampledLengths(pl.Callback):
    """Takes samples before training and at each validation, as rows of the record."""

    def __init__(self, record: RunRecord) -> None:
        self._record = record
        self._before: list[list[str]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take those that the others are compared with."""
        self._before = self._sampled(trainer, pl_module)
        self._write(0, self._before)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take those of now."""
        self._write(trainer.global_step, self._sampled(trainer, pl_module))

    def _write(self, step: int, sampled: list[list[str]]) -> None:
        for prompt, (now, before) in enumerate(zip(sampled, self._before, strict=True)):
            add_row(self._record.samples, {"step": step, "prompt": str(prompt), "policy": now, "reference": before})

    def _sampled(self, trainer: Any, pl_module: Any) -> list[list[str]]:
        data = trainer.datamodule
        prompts = data.prompts("val")[:16]
        settings: dict[str, Any] = {"samples_per_prompt": 2, "max_new_tokens": 100, "temperature": 1.0, "seed": 0}
        return sample_completions(pl_module.policy, data.tokenizer, prompts, **settings)


def lab(root: Path) -> LabDataModule:
    """Make the world and its starting policy, unless they are there."""
    made = LabDataModule(str(root), train_pairs=PAIRS, val_pairs=HELD_OUT)
    made.prepare_data()
    return made


def run(planted: Planted, root: Path, directory: Path) -> Path:
    """Train in the lab and return the run's directory, with metrics and hints."""
    from datasets import Dataset, DatasetDict

    splits = {name: planted.change(_rows(root / f"{name}.jsonl")) for name in ("train", "validation")}
    torch.manual_seed(0)
    data = PreferenceDataModule(
        DatasetDict({name: Dataset.from_list(rows) for name, rows in splits.items()}),
        str(root / "policy"),
        val_split="validation",
        batch_pairs=BATCH,
        length_grouped=False,
    )
    module = PreferenceModule(
        str(root / "policy"),
        planted.objective,
        optimizer=partial(AdamW, lr=planted.rate, weight_decay=0.0),
        schedule=Cosine(warmup=0.1),
    )
    record = RunRecord(directory)
    callbacks: list[pl.Callback] = [SampledLengths(record)] if planted.samples else []
    quiet = dict.fromkeys(("enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
    settings: dict[str, Any] = {"max_epochs": 1, "gradient_clip_val": 1.0, **quiet, **planted.trainer}
    pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=CSVLogger(str(directory.parent), name=directory.name, version=""),
        log_every_n_steps=5,
        check_val_every_n_epoch=None,
        val_check_interval=25,
        num_sanity_val_steps=0,
        callbacks=[*callbacks, HealthHints()],
        **settings,
    ).fit(module, datamodule=data)
    return directory


def _rows(path: Path) -> list[Row]:
    read = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in read]


def draw(name: str, planted: Planted, directory: Path, folder: Path) -> None:
    """Draw a run's curves, with a line at the step of its hint."""
    import csv
    import statistics

    with (directory / "metrics.csv").open(encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    record = RunRecord(directory)
    panels = len(planted.shown)
    rows, columns = (2, 2) if panels == 4 else (1, panels)
    figure = figure_class()(figsize=(3.7 * columns, 2.6 * rows), layout="constrained")
    figure.suptitle(planted.about, fontsize=10)
    for axes, names in zip(figure.subplots(rows, columns).flat, planted.shown, strict=True):
        for index, each in enumerate(names):
            if each == "words":
                sampled = read_rows(record.samples)
                steps = sorted({row["step"] for row in sampled})
                means = [
                    statistics.fmean(
                        len(text.split()) for row in sampled if row["step"] == step for text in row["policy"]
                    )
                    for step in steps
                ]
                axes.plot(steps, means, color=f"C{index}", marker="o", markersize=3, label="words of a sample")
                continue
            for stage, style in (("train", "-"), ("val", "--")):
                points = [
                    (int(row["step"]) + 1, float(row[f"{stage}/{each}"])) for row in read if row.get(f"{stage}/{each}")
                ]
                if points:
                    axes.plot(
                        *zip(*points, strict=True), style, color=f"C{index}", linewidth=1, label=f"{stage} {each}"
                    )
        for hint in read_rows(record.hints):
            axes.axvline(hint["step"], color="0.5", linestyle=":", linewidth=1)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=75, format="png", metadata={"Software": None})


def main() -> None:
    """Make the runs that are named, or all, and draw them."""
    parser = argparse.ArgumentParser(description="Curves of healthy and of faulty runs in the lab.")
    parser.add_argument("names", nargs="*", choices=[[], *RUNS], help="runs to make; all of them without a name")
    parser.add_argument("--out", type=Path, help="where runs go; without it, nowhere that stays")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        lab(out / "lab")
        for name in options.names or RUNS:
            directory = run(RUNS[name], out / "lab", out / name)
            draw(name, RUNS[name], directory, FOLDER)
            print(name, *(f"{hint['step']}: {hint['name']}" for hint in read_rows(RunRecord(directory).hints)))


if __name__ == "__main__":
    main()
