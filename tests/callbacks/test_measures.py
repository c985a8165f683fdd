"""What a run costs and how fast it is, in its log: against clocks and counts of the test's own."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.optim import SGD
from torch.utils.data import DataLoader
from transformers.optimization import Adafactor

from dpo_lightning import PreferenceModule
from dpo_lightning.batch import collate_padded, collate_tree
from dpo_lightning.callbacks import Measures, ResumableCheckpoint, SampleTable, measures, samples
from dpo_lightning.checkpoints import DurableCheckpointIO
from dpo_lightning.estimate import ModelShape, Workload, shape_of, step_flops
from dpo_lightning.estimate.memory import State
from dpo_lightning.utils.ranks import DataRanks
from tests.helpers.runs import data, fit, module, trainer
from tests.helpers.tiny import PAIRS, tiny_llama
from tests.test_layers import NoWaiting

MEASURED = {"pairs_per_second", "tokens_per_second", "seconds", "memory_gib"}
OF_EVERY_LOG = {f"train/{name}" for name in {*MEASURED, "lr", "epoch_fraction"}}


class Clock:
    """A clock that goes on by a second whenever the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(measures.time, "perf_counter", lambda: self.now)


class Tells(pl.Callback):
    """A batch takes a second and a validation a thousand; it keeps what is logged after each batch."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seen: list[dict[str, float]] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.clock.now += 1

    def on_validation_batch_start(self, *_: Any) -> None:
        self.clock.now += 1000

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.seen.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def points(logger: CSVLogger) -> list[dict[str, str]]:
    """The rows that a logger has written of the training, without empty cells."""
    with Path(logger.log_dir, "metrics.csv").open() as file:
        rows = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [row for row in rows if "train/loss" in row]


def test_they_are_logged_at_the_interval_and_the_rest_at_the_end(tmp_path: Path) -> None:
    logger = CSVLogger(str(tmp_path))
    trainer(max_steps=8, log_every_n_steps=3, logger=logger).fit(module(lr=0.25), data(tmp_path))

    start, *found = points(logger)

    assert start["step"] == "0", "the state before the first update"
    assert [row["step"] for row in found] == ["2", "5", "7"]
    assert all(row.keys() > OF_EVERY_LOG for row in found)
    assert all(float(row["train/lr"]) == 0.25 for row in found)
    # Six batches are an epoch.
    assert [float(row["train/epoch_fraction"]) for row in found] == pytest.approx([0.5, 1, 8 / 6])
    assert [row["epoch"] for row in found] == ["0", "0", "1"]


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("by", ["max_steps", "max_epochs"])
def test_a_run_that_is_shorter_than_the_interval_logs_its_last_step(tmp_path: Path, steps: int, by: str) -> None:
    logger = CSVLogger(str(tmp_path))
    length = {"max_steps": steps} if by == "max_steps" else {"max_steps": -1, "max_epochs": 1}
    model = module(lr=1e-2)
    run, losses = fit(tmp_path, model, log_every_n_steps=50, logger=logger, limit_train_batches=steps, **length)

    start, row = points(logger)

    assert start["step"] == "0", "the state before the first update"
    assert row["step"] == str(steps - 1) == str(run.global_step - 1)
    assert float(row["train/loss"]) == pytest.approx(sum(losses) / steps, rel=1e-5)
    assert {*OF_EVERY_LOG, "train/grad_norm", "train/rewards/margins"} <= row.keys()


def test_the_last_interval_is_logged_once(tmp_path: Path) -> None:
    logger = CSVLogger(str(tmp_path))
    trainer(max_steps=6, log_every_n_steps=3, logger=logger).fit(module(), data(tmp_path))

    assert [row["step"] for row in points(logger)] == ["0", "2", "5"]  # the first is the state before any update


def test_a_run_that_a_validation_stops_logs_its_last_step(tmp_path: Path) -> None:
    class Stops(pl.Callback):
        def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
            trainer.should_stop = True

    logger = CSVLogger(str(tmp_path))
    settings: dict[str, Any] = {"val_check_interval": 2, "num_sanity_val_steps": 0}
    run = trainer(max_steps=6, log_every_n_steps=50, logger=logger, callbacks=[Stops()], **settings)
    run.fit(module(), data(tmp_path))

    assert [row["step"] for row in points(logger)] == ["0", "1"]  # the first is the state before any update
    assert "train/rewards/margins" in points(logger)[1]


@pytest.mark.parametrize("layout", ["tree", "padded"])
def test_throughput_is_of_the_interval_and_validations_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    tells = Tells(Clock(monkeypatch))
    run = trainer(max_steps=6, log_every_n_steps=2, val_check_interval=3, accumulate_grad_batches=2, callbacks=[tells])
    source = data(tmp_path, layout=layout, length_grouped=False)
    run.fit(module(), source)

    # Six batches are an epoch, so the second and the fourth step end one, of which four batches are in the interval.
    prompts = 1 if layout == "tree" else 2
    examples = source.examples_used("fit")[0]
    tokens = sum(prompts * len(each.prompt_ids) + sum(map(len, each.completion_ids)) for each in examples)
    shown = {seen["train/seconds"]: seen for seen in tells.seen if "train/seconds" in seen}
    assert [*shown] == [4, 6, 8, 12]  # batches: the log at every second step, and each third one ends an epoch
    assert all(seen["train/pairs_per_second"] == pytest.approx(4) for seen in shown.values())  # a batch a second
    both = sum(seen["train/tokens_per_second"] * 4 for seconds, seen in shown.items() if seconds != 6)
    assert both == pytest.approx(2 * tokens)  # of two epochs


def test_a_resumed_run_counts_its_own_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    first = trainer(max_steps=4, callbacks=[Tells(clock)])
    first.fit(module(), data(tmp_path))
    first.save_checkpoint(tmp_path / "saved.ckpt")
    tells = Tells(clock)
    trainer(max_steps=6, callbacks=[tells]).fit(module(), data(tmp_path), ckpt_path=str(tmp_path / "saved.ckpt"))

    assert [seen["train/seconds"] for seen in tells.seen] == [1, 2]
    assert [seen["train/pairs_per_second"] for seen in tells.seen] == pytest.approx([4, 4])
    assert [seen["train/epoch_fraction"] for seen in tells.seen] == pytest.approx([5 / 6, 1])


@pytest.mark.parametrize("every", [1, 2])
def test_saving_and_sampling_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    clock = Clock(monkeypatch)

    def slow(method: Any) -> Any:
        def slowly(*args: Any, **kwargs: Any) -> Any:
            clock.now += 1000
            return method(*args, **kwargs)

        return slowly

    monkeypatch.setattr(DurableCheckpointIO, "save_checkpoint", slow(DurableCheckpointIO.save_checkpoint))
    monkeypatch.setattr(samples, "sample_over_ranks", slow(samples.sample_over_ranks))
    tells = Tells(clock)
    table = SampleTable(prompts=1, samples_per_prompt=1, max_new_tokens=1, every_n_steps=every)
    savers = [
        ResumableCheckpoint(str(tmp_path / "ours"), every_n_train_steps=every),
        ModelCheckpoint(tmp_path / "theirs", every_n_train_steps=every, save_top_k=-1),
    ]
    root: dict[str, Any] = {"default_root_dir": tmp_path, "enable_checkpointing": True}
    trainer(max_steps=4, callbacks=[table, *savers, tells], **root).fit(module(), data(tmp_path))

    assert clock.now > 5000
    # A batch takes its second at its start, which is still that of Lightning's saving.
    counted = {1: [1, 1, 1, 1], 2: [1, 2, 2, 3]}
    assert [seen["train/seconds"] for seen in tells.seen] == counted[every]


class Rates(PreferenceModule):
    """Weights of norms have a rate of their own, in a group that has a name, and biases one without."""

    def configure_optimizers(self) -> Any:
        norms = [each for name, each in self.named_parameters() if "norm" in name]
        rest = [each for name, each in self.named_parameters() if "norm" not in name]
        groups = [{"params": rest[1:]}, {"params": norms, "lr": 0.5, "name": "norms"}, {"params": rest[:1], "lr": 0.25}]
        return SGD(groups, lr=0.125)


def test_groups_with_rates_of_their_own_have_names(tmp_path: Path) -> None:
    run, _ = fit(tmp_path, Rates(tiny_llama()), max_steps=1)

    rates = {name: value.item() for name, value in run.callback_metrics.items() if name.startswith("train/lr")}
    assert rates == {"train/lr": 0.125, "train/lr_norms": 0.5, "train/lr_3": 0.25}


def test_groups_of_two_optimizers_may_have_one_name() -> None:
    def optimizer(first: float, second: float) -> SGD:
        weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
        groups = zip(("decay", "plain"), weights, (first, second), strict=True)
        return SGD([{"name": name, "params": [weight], "lr": rate} for name, weight, rate in groups])

    run: Any = SimpleNamespace(optimizers=[optimizer(0.125, 0.25), optimizer(0.5, 1.0)])
    assert measures._rates(run) == {"lr": 0.125, "lr_plain": 0.25, "lr_decay_3": 0.5, "lr_plain_4": 1.0}


def test_an_optimizer_that_finds_its_own_steps_has_no_rate(tmp_path: Path) -> None:
    class Own(PreferenceModule):
        def configure_optimizers(self) -> Any:
            return Adafactor(self.policy.parameters())  # of transformers: its rate is None

    run, _ = fit(tmp_path, Own(tiny_llama()), max_steps=2)

    assert "train/seconds" in run.callback_metrics
    assert "train/lr" not in run.callback_metrics


def test_one_rate_of_several_groups_is_one_value(tmp_path: Path) -> None:
    model = module(
        optimizer=partial(SGD, lr=0.125, weight_decay=0.5)
    )  # which norms are spared, in a group of their own
    run, _ = fit(tmp_path, model, max_steps=1)

    assert len(run.optimizers[0].param_groups) == 2
    assert [name for name in run.callback_metrics if name.startswith("train/lr")] == ["train/lr"]


class ByHand(PreferenceModule):
    """Two optimizers, which both step in every second batch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        parameters = [*self.parameters()]
        return SGD(parameters[::2], lr=0.5), SGD(parameters[1::2], lr=0.25)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        for optimizer in self.optimizers() if batch_idx % 2 else ():
            optimizer.step()
            optimizer.zero_grad()
        return loss


def test_two_optimizers_and_steps_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tells = Tells(Clock(monkeypatch))
    run = trainer(max_steps=-1, max_epochs=1, callbacks=[tells])
    run.fit(ByHand(tiny_llama()), data(tmp_path))

    assert tells.seen[-1]["train/lr"] == 0.5
    assert tells.seen[-1]["train/lr_2"] == 0.25
    assert tells.seen[-1]["train/pairs_per_second"] == pytest.approx(4)
    assert tells.seen[-1]["train/seconds"] == 6


class Foreign(pl.LightningModule):
    """Somebody's own, with batches of tensors, or of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.layer(torch.ones(1)).sum()

    def configure_optimizers(self) -> Any:
        return SGD(self.parameters(), lr=0.5)


@pytest.mark.parametrize(
    ("loader", "counted"),
    [
        (DataLoader(torch.ones(6, 1), batch_size=2), None),
        (DataLoader(PAIRS, batch_size=3, collate_fn=collate_tree), 3.0),
        (DataLoader(PAIRS, batch_size=3, collate_fn=lambda rows: {"pairs": collate_padded(rows), "own": 1}), 3.0),
    ],
    ids=["tensors", "pairs", "beside others"],
)
def test_a_module_and_batches_of_ones_own(monkeypatch: pytest.MonkeyPatch, loader: Any, counted: float | None) -> None:
    tells = Tells(Clock(monkeypatch))
    run = trainer(max_steps=1, callbacks=[tells, Measures()])
    run.fit(Foreign(), loader)

    assert tells.seen[0]["train/lr"] == 0.5
    assert tells.seen[0]["train/seconds"] == 1
    assert tells.seen[0].get("train/pairs_per_second") == counted


@pytest.mark.parametrize("settings", [{"barebones": True}, {"log_every_n_steps": 0}, {"fast_dev_run": True}])
def test_runs_without_a_log(tmp_path: Path, settings: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"barebones": True} if "barebones" in settings else {}
    if plain:
        plain |= {"logger": None, "enable_checkpointing": None, "enable_progress_bar": None}
        plain |= {"enable_model_summary": None, "log_every_n_steps": None}
    run = trainer(**{"max_steps": 2, **plain, **settings})
    run.fit(module(), data(tmp_path))
    assert run.state.finished


def test_a_stream_has_no_fraction_of_an_epoch(tmp_path: Path) -> None:
    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self) -> Any:
            while True:
                yield PAIRS[0]

    run = trainer(max_steps=1)
    run.fit(module(), DataLoader(Endless(), batch_size=2, collate_fn=collate_tree))
    assert "train/epoch_fraction" not in run.callback_metrics
    assert "train/pairs_per_second" in run.callback_metrics


def shape(**sizes: Any) -> ModelShape:
    return ModelShape(
        **{
            **dict.fromkeys(ModelShape.__annotations__, 0),
            **{"active_parameters": 1000, "layers": 2, "heads": 8, "hidden": 8, "vocabulary": 64},
            **{"gated": False, "head_trained": True, **sizes},
        }
    )


@pytest.mark.parametrize("collate", [collate_tree, collate_padded])
def test_mfu_is_the_operations_of_what_was_counted_over_the_peak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collate: Any
) -> None:
    tells = Tells(Clock(monkeypatch))
    monkeypatch.setattr(
        measures._Operations, "of", classmethod(lambda cls, *_: cls(shape(), reference_forward=True, peak=1e9))
    )
    pairs = [PAIRS[0]._replace(row=n, completion_ids=[[8, 9, 10], [11, 12, 2]]) for n in range(4)]
    run = trainer(max_steps=1, callbacks=[tells])
    run.fit(module(), DataLoader(pairs, batch_size=4, collate_fn=collate))

    work = Workload(4, prompt=4, completion=3, tree=collate is collate_tree)
    expected = step_flops(shape(), work, State(0, 0, 0, checkpointing=False), reference_forward=True) / 1e9
    assert tells.seen[0]["train/mfu"] == pytest.approx(expected, rel=1e-6)


def test_on_a_cpu_there_is_no_mfu(tmp_path: Path) -> None:
    run, _ = fit(tmp_path, module(), max_steps=1)
    assert "train/mfu" not in run.callback_metrics
    assert shape_of(run.lightning_module.policy) is not None  # it is the device that is not known


def test_ranks_are_summed_and_the_largest_has_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    class Two:
        world_size, global_rank = 2, 1

        class strategy:  # noqa: N801
            root_device = torch.device("cpu")

    other = torch.tensor([[3.0, 30.0, 20.0, 5.0, 7.0], [0.0] * 5])
    monkeypatch.setattr(measures, "sum_over_ranks", lambda rows: rows.add_(other))
    counts = measures.Counts(2, torch.tensor(10), 5, 1.0)
    for ranks, times in ((2, 1), (1, 2)):  # two with batches of their own, or one and a tensor-parallel one
        monkeypatch.setattr(measures, "data_ranks", lambda _, ranks=ranks: DataRanks(ranks, 0))
        total, peak = measures._over_ranks(counts, 4.0, Two())  # type: ignore[arg-type]
        assert total == (round(5 / times), 40 / times, round(25 / times), 6 / times)
        assert peak == 7.0


def test_nothing_waits_for_the_device_between_two_logs() -> None:
    callback, run, own = Measures(), trainer(), module()
    with NoWaiting():
        for collate in (collate_tree, collate_padded):
            callback.on_train_batch_start(run, own, collate(PAIRS), 0)
