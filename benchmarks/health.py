"""Curves of every objective in the lab, and whether the policy's sentences are still well formed at their end.

    python -m benchmarks.health --out runs/health.jsonl

Makes the runs of the frontier, and some whose beta or learning rate is wrong, half as long, and writes a line each: the
curves, the share of their own log-prob that chosen completions have lost, and what 256 samples are worth. The limits of
`dpo_lightning.report.verdict` and of `dpo_lightning.report.health` are read off `benchmarks/results/health.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger
from torch.optim import AdamW

from benchmarks.frontier.catalogue import CATALOGUE, SWEEPS, Entry
from benchmarks.frontier.measure import kl_along
from dpo_lightning import DPO, IPO, RPO, APODown, PreferenceModule, SimPO
from dpo_lightning.lab.datamodule import LabDataModule
from dpo_lightning.lab.reward import sentences, split_sentences, true_reward
from dpo_lightning.losses import Compares
from dpo_lightning.policy.sampling import sample_tokens
from dpo_lightning.report.health.history import NAMES
from dpo_lightning.training.schedules import Cosine

_PAIRS, _HELD_OUT, _BATCH = 2000, 128, 16
_DIGITS = 4
_RATES = (1e-6, 2e-3, 3e-3, 4e-3, 5e-3, 1e-2, 3e-2)


class Curves(Logger):
    """Keeps what is logged, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.points: dict[str, list[tuple[int, float]]] = defaultdict(list)

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "curves"

    @property
    def version(self) -> str:
        """Its one version."""
        return "0"

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Keep none."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keep those that rules read."""
        for name in NAMES & metrics.keys():
            self.points[name].append(((step or 0) + 1, float(f"{metrics[name]:.{_DIGITS}g}")))


def entries() -> Iterator[tuple[str, Entry]]:
    """Yield the catalogue, and runs that are wrong by their beta or learning rate."""
    yield from (("frontier", entry) for entry in CATALOGUE)
    dpo = partial(replace, CATALOGUE[0])
    wrong = [*SWEEPS["DPO"], dpo(name="DPO 0.01", objective=DPO(0.01)), dpo(name="DPO 0.05", objective=DPO(0.05))]
    wrong += [dpo(name=f"DPO 0.3, {rate:g}", learning_rate=rate) for rate in _RATES]
    wrong += [dpo(name=f"DPO 0.1, {rate:g}", objective=DPO(0.1), learning_rate=rate) for rate in (1e-3, 2e-3)]
    simpo = partial(dpo, objective=SimPO())
    wrong += [simpo(name=f"SimPO, {rate:g}", learning_rate=rate) for rate in (3e-4, 5e-4, 7e-4, 2e-3)]
    others = {"APO down 0.3": APODown(0.3), "IPO 0.01": IPO(0.01), "RPO 0.1": RPO(0.1)}
    wrong += [dpo(name=name, objective=objective) for name, objective in others.items()]
    yield from (("sweep", entry) for entry in wrong)


def measured(of: str, entry: Entry, root: Path) -> dict[str, Any]:
    """Train an entry and return the line that is written of it."""
    torch.manual_seed(0)
    data, curves = _data(entry, root), Curves()
    module = PreferenceModule(
        str(root / "policy"),
        entry.objective or DPO(),
        optimizer=partial(AdamW, lr=entry.learning_rate, weight_decay=0.0),
        schedule=Cosine(warmup=0.1),
    )
    quiet = dict.fromkeys(("enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
    settings: dict[str, Any] = {"max_epochs": 1, "gradient_clip_val": 1.0, "num_sanity_val_steps": 0, **quiet}
    pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=curves,
        default_root_dir=str(root.with_name("records")),
        log_every_n_steps=5,
        val_check_interval=0.25,
        callbacks=entry.callbacks(),
        **settings,
    ).fit(module, datamodule=data)
    return {
        "name": entry.name,
        "of": of,
        "objective": repr(entry.objective),
        "rate": entry.learning_rate,
        "examples_per_step": _examples(entry),
        "share_lost": round(_share_lost(curves.points), 3),
        **_samples(module, data),
        "curves": dict(sorted(curves.points.items())),
    }


def _examples(entry: Entry) -> int:
    return _BATCH // 2 if entry.completions else _BATCH


def _data(entry: Entry, root: Path) -> LabDataModule:
    lists = entry.completions is not None
    return LabDataModule(
        str(root.with_name(f"{root.name}-lists") if lists else root),
        train_pairs=_PAIRS // 2 if lists else _PAIRS,
        val_pairs=_HELD_OUT,
        completions=entry.completions,
        format=entry.format,
        batch_pairs=_examples(entry) * (2 if entry.format.gives is Compares.LABELLED else 1),
        length_grouped=False,
    )


def _share_lost(points: Mapping[str, list[tuple[int, float]]]) -> float:
    logps = points["val/logps/chosen"][-1][1]
    ratios = points.get("val/logratios/chosen")
    logratio = logps - points["train/logps/chosen"][0][1] if ratios is None else ratios[-1][1]
    return -logratio / (logratio - logps)


def _samples(module: PreferenceModule, data: LabDataModule) -> dict[str, float]:
    """Return means over samples: of sentences that are well formed, true reward, KL and length."""
    prompts = sorted(dict.fromkeys(tuple(ids) for ids in data.prompts("val")), key=len)[:64]
    eos = data.tokenizer.eos_token_id
    settings = {"samples_per_prompt": 4, "max_new_tokens": 80, "temperature": 1.0, "seed": 0, "prompts_at_once": 64}
    sampled = sample_tokens(module.policy, prompts, eos, **settings)
    rows = [(prompt, each) for prompt, several in zip(prompts, sampled, strict=True) for each in several]
    texts = [tuple(data.tokenizer.batch_decode(row, skip_special_tokens=True)) for row in rows]
    told = [sentence for _, text in texts for sentence in split_sentences(text)]
    return {
        "well_formed": round(statistics.fmean(sentence in sentences() for sentence in told), 3),
        "true_reward": round(statistics.fmean(true_reward(*text) for text in texts), 2),
        "kl": round(kl_along(module.policy, module.policy_again(), rows).mean().item(), 2),
        "words": round(statistics.fmean(len(completion) for _, completion in rows), 1),
    }


def main() -> None:
    """Make the runs that the file does not have."""
    parser = argparse.ArgumentParser(description="Curves of every objective in the lab, and its sentences.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/health.jsonl"))
    parser.add_argument("--lab", type=Path, default=Path("runs/health/lab"))
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    lines = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    done = {json.loads(line)["name"] for line in lines}
    with options.out.open("a", encoding="utf-8") as file:
        for of, entry in entries():
            if entry.name not in done:
                file.write(json.dumps(measured(of, entry, options.lab), separators=(",", ":")) + "\n")
                print(entry.name, flush=True)


if __name__ == "__main__":
    main()
