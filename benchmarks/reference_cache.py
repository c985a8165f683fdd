"""What the cached reference saves: step time and memory over an online one, and the start of the second run.

    python -m benchmarks.reference_cache                                # 51 M parameters, HH, full fine-tuning
    python -m benchmarks.reference_cache --mode lora --precision fp32
    python -m benchmarks.reference_cache --pairs 32 --runs 1          # does it work here?

Each run is a fresh process that trains one epoch. The first cached run scores the reference into an empty cache, the
others find it there. Prints a table and writes `benchmarks/results/reference_cache.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.compare_models import MODELS, save_model
from benchmarks.compare_sides import LEARNING_RATE, LORA, RECIPE
from benchmarks.environment import describe
from benchmarks.own_process import add_arguments, run_part
from benchmarks.profiles import GPT2_VOCABULARY, hh_file
from dpo_lightning.utils.files import replaced

SIDES = ("online", "cached-first", "cached")
PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}


def main() -> None:
    arguments = parse_arguments()
    if arguments.spec is not None:
        print(json.dumps(train(json.loads(arguments.spec))))
        return
    results = compare(arguments)
    with replaced(arguments.output) as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    Console().print(table(results))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cached reference against an online one.")
    fitting = [name for name, shape in MODELS.items() if shape[-1] >= GPT2_VOCABULARY]
    parser.add_argument("--model", choices=fitting, default="51m")
    parser.add_argument("--mode", choices=LEARNING_RATE, default="full")
    parser.add_argument("--precision", choices=PRECISION, default="fp32")
    parser.add_argument("--pairs", type=int, default=256, help="pairs of the epoch (default 256)")
    parser.add_argument("--runs", type=int, default=3, help="runs of `online` and of `cached` (default 3)")
    add_arguments(parser, "reference_cache")
    return parser.parse_args()


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """All sides, alternating which goes first, so that a drift of the machine meets both alike."""
    with tempfile.TemporaryDirectory() as name:
        scratch, shared = Path(name), arguments.shared.resolve()
        config = save_model(arguments.model, scratch / "model", RECIPE["max_length"])
        spec = {
            "model": str(scratch / "model"),
            "cache": str(scratch / "cache"),
            "datasets": str(scratch / "datasets"),
            "data": str(hh_file(shared)),
            "tokenizer": str(shared / "tokenizers" / "gpt2"),
            "mode": arguments.mode,
            "precision": PRECISION[arguments.precision],
            "pairs": arguments.pairs,
        }
        tokenise_once(spec)
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        runs["cached-first"].append(run_process({**spec, "side": "cached-first"}))
        for number in range(arguments.runs):
            for side in ("online", "cached") if number % 2 == 0 else ("cached", "online"):
                runs[side].append(run_process({**spec, "side": side}))
    return {
        **describe(),
        "model": arguments.model,
        "config": config,
        "mode": arguments.mode,
        "precision": arguments.precision,
        "pairs": arguments.pairs,
        "recipe": {**RECIPE, "lr": LEARNING_RATE[arguments.mode]},
        "summary": summarise(runs),
        "runs": runs,
    }


def tokenise_once(spec: dict[str, Any]) -> None:
    """Every run then finds the tokens in the cache of `datasets`."""
    run_process({**spec, "side": "tokenise"})


def run_process(spec: dict[str, Any]) -> dict[str, Any]:
    start = time.perf_counter()
    found = run_part("reference_cache", spec["side"], spec)
    return {**found, "wall_s": time.perf_counter() - start}


def summarise(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Means over runs; the losses of every run beside those of the first online one."""
    names = ("epoch_s", "start_s", "peak_mib", "wall_s")
    summary: dict[str, Any] = {
        side: {name: statistics.mean(run[name] for run in found) for name in names} for side, found in runs.items()
    }
    expected = runs["online"][0]["losses"]
    summary["epoch_over_online"] = summary["cached"]["epoch_s"] / summary["online"]["epoch_s"]
    summary["largest_loss_difference"] = max(
        abs(loss - other)
        for found in runs.values()
        for run in found
        for loss, other in zip(run["losses"], expected, strict=True)
    )
    return summary


def table(results: dict[str, Any]) -> Table:
    summary = results["summary"]
    made = Table("side", "epoch s", "start s", "peak MiB", "process s", title=f"{results['model']}, {results['mode']}")
    for side in SIDES:
        figures = summary[side]
        made.add_row(side, *(f"{figures[name]:.2f}" for name in ("epoch_s", "start_s", "peak_mib", "wall_s")))
    made.caption = (
        f"epoch over online {summary['epoch_over_online']:.3f}, "
        f"largest difference of a loss {summary['largest_loss_difference']:.1e}"
    )
    return made


def train(spec: dict[str, Any]) -> dict[str, Any]:
    """One side: an epoch, and what it took."""
    import datasets
    import lightning.pytorch as pl
    import torch
    from torch.optim import AdamW

    from benchmarks.recording import peak_mib
    from dpo_lightning import LoRA, Precomputed, PreferenceDataModule, PreferenceModule

    datasets.config.HF_DATASETS_CACHE = Path(spec["datasets"])
    datasets.disable_progress_bars()
    data = PreferenceDataModule(
        spec["data"],
        spec["tokenizer"],
        train_split=f"train[:{spec['pairs']}]",
        max_length=RECIPE["max_length"],
        batch_pairs=8,
        layout="tree",
    )
    if spec["side"] == "tokenise":
        data.prepare_data()
        return {}
    pl.seed_everything(RECIPE["seed"], verbose=False)
    module = PreferenceModule(
        spec["model"],
        reference=Precomputed(spec["cache"]) if spec["side"] != "online" else None,
        lora=LoRA(**LORA) if spec["mode"] == "lora" else None,
        optimizer=lambda parameters: AdamW(parameters, lr=LEARNING_RATE[spec["mode"]], weight_decay=0.0, fused=True),
    )

    class Epoch(pl.Callback):
        """The time before the first step, that of the epoch without its first step, and the losses."""

        def __init__(self) -> None:
            self.losses: list[torch.Tensor] = []
            self.begun = self.ready = self.start = self.end = 0.0

        def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.begun = time.perf_counter()

        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.ready = time.perf_counter()

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.losses.append(outputs["loss"].detach())
            self.end = time.perf_counter()
            self.start = self.start or self.end

    epoch = Epoch()
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="auto",
        devices=1,
        precision=spec["precision"],
        callbacks=[epoch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    return {
        "epoch_s": epoch.end - epoch.start,
        "start_s": epoch.ready - epoch.begun,
        "peak_mib": torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else peak_mib(),
        "losses": [loss.item() for loss in epoch.losses],
    }


if __name__ == "__main__":
    main()
