"""Checkpoints are right whoever takes them, and when."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, OnExceptionCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.optim import AdamW
from torchmetrics import MeanMetric

from dpo_lightning import Cosine, LoRA, PreferenceModule
from dpo_lightning.callbacks import EMAReference, UpdateGuard
from dpo_lightning.errors import RunError
from tests.helpers import runs
from tests.helpers.saved import by_content
from tests.helpers.tiny import tiny_llama

ELSEWHERE = ("test", "predict", "checkpoint", "exception", "transfer")
CALLBACK_HOOKS = [
    name for name in vars(pl.Callback) if name.startswith("on_") and not any(word in name for word in ELSEWHERE)
]
MODULE_HOOKS = [
    *(name for name in dir(pl.LightningModule) if name.startswith("on_") and not any(w in name for w in ELSEWHERE)),
    *("training_step", "validation_step", "backward", "optimizer_zero_grad", "configure_gradient_clipping"),
]


def moment(name: str) -> int:
    """The call of a hook at which it saves: the first of the few that there are, or a random one."""
    once = ("fit", "train_start", "train_end", "sanity", "train_epoch", "validation", "zero_grad", "_mode")
    rare = any(word in name for word in once) and "batch" not in name
    return 1 if rare else random.Random(name).randint(1, 5)


class Saver:
    """Saves once, at the call of a hook that `moment` says."""

    def __init__(self, directory: Path, prefix: str) -> None:
        self.directory, self.prefix = directory, prefix
        self.calls: dict[str, int] = {}

    def __call__(self, name: str, trainer: pl.Trainer) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        if self.calls[name] == moment(name):
            trainer.save_checkpoint(self.directory / f"{self.prefix} {name}.ckpt")


class SavesEverywhere(pl.Callback):
    """Saves once in each hook of a callback that a fit calls."""

    def __init__(self, save: Saver) -> None:
        for name in CALLBACK_HOOKS:
            setattr(self, name, lambda trainer, *_, name=name, **__: save(name, trainer))


class Logs(PreferenceModule):
    """Logs means over the epoch, by values and by metric objects, and draws random numbers."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.mean, self.validated = MeanMetric(), MeanMetric()

    def on_train_epoch_start(self) -> None:
        self.log("mine/start", torch.rand(()))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.mean(loss.detach())
        self.log("mine/object", self.mean, on_step=False, on_epoch=True)
        self.log("mine/mean", loss, on_step=True, on_epoch=True, batch_size=batch.examples)
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().validation_step(batch, batch_idx, dataloader_idx)
        self.validated.update(self.global_step)
        self.log("mine/validated", self.validated)


class ModuleThatSaves(Logs):
    """Saves once in each hook of a module that a fit calls, before and after what the module does there."""

    save_before: Saver
    save_after: Saver


def _hook(name: str) -> Any:
    def hook(self: ModuleThatSaves, *args: Any, **kwargs: Any) -> Any:
        attached = getattr(self, "_trainer", None)
        if attached is not None and attached.training | attached.validating | attached.sanity_checking:
            self.save_before(name, attached)
        result = getattr(super(ModuleThatSaves, self), name)(*args, **kwargs)
        if attached is not None and attached.training | attached.validating | attached.sanity_checking:
            self.save_after(name, attached)
        return result

    return hook


for _name in MODULE_HOOKS:
    setattr(ModuleThatSaves, _name, _hook(_name))


class Steps(pl.Callback):
    """Keeps the loss and the optimizer step of each micro-batch, by its number in the run."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[float, int]] = {}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen[trainer.fit_loop.epoch_loop.total_batch_idx] = (outputs["loss"].item(), trainer.global_step)


def fit(path: Path, *callbacks: pl.Callback, kind: type = PreferenceModule, savers: Any = (), **settings: Any) -> Any:
    """A run with dropout, a schedule and two epochs of three batches; its Trainer, its module and its steps."""
    pl.seed_everything(1)
    optimizer = partial(AdamW, lr=1e-2, weight_decay=0.1)
    schedule = Cosine(warmup=2)
    random_parts = {"dropout": True, "step_zero_check": False}
    model = kind(tiny_llama(attention_dropout=0.1), optimizer=optimizer, schedule=schedule, **random_parts)
    for name, saver in savers:
        setattr(model, name, saver)
    steps, ckpt_path = Steps(), settings.pop("ckpt_path", None)
    whole = {"max_steps": -1, "max_epochs": 2, "val_check_interval": 2, "log_every_n_steps": 2, **settings}
    trainer = runs.trainer(callbacks=[*callbacks, steps], default_root_dir=path, **whole)
    trainer.fit(model, runs.data(path, train_split="train[8:20]"), ckpt_path=ckpt_path)
    return trainer, model, steps.seen


def difference(whole: Any, rest: Any) -> str:
    """Say what a resumed run has otherwise than the whole one; nothing where they are equal bit for bit."""
    found = []
    if rest[0].global_step != whole[0].global_step:
        found.append(f"{rest[0].global_step} steps instead of {whole[0].global_step}")
    if any(step != whole[2][batch] for batch, step in rest[2].items()):
        found.append("other losses")
    if any(not torch.equal(a, b) for a, b in zip(whole[1].parameters(), rest[1].parameters(), strict=True)):
        found.append("other weights")
    values = [runs.computed(each[0].callback_metrics) for each in (whole, rest)]
    if values[0] != values[1] and rest[2]:  # of a run that was over, nothing is reported
        found.append(f"other metrics {set(values[0].items()) ^ set(values[1].items())}")
    return ", ".join(found)


@pytest.mark.parametrize("settings", [{}, {"accumulate_grad_batches": 2, "val_check_interval": 3}], ids=["1", "2"])
def test_a_checkpoint_of_any_hook_goes_on_bit_for_bit(tmp_path, settings):
    savers = [(f"save_{when}", Saver(tmp_path, when)) for when in ("before", "after")]
    callback = SavesEverywhere(Saver(tmp_path, "callback"))
    whole = fit(tmp_path, callback, kind=ModuleThatSaves, savers=savers, **settings)
    settings["kind"] = Logs
    assert difference(whole, fit(tmp_path, **settings)) == ""  # saving changes nothing
    saved = sorted(tmp_path.glob("*.ckpt"))
    assert len(saved) >= 70
    wrong = {tuple(each): difference(whole, fit(tmp_path, ckpt_path=each[0], **settings)) for each in by_content(saved)}
    assert {paths: what for paths, what in wrong.items() if what} == {}


@pytest.mark.parametrize("hook", ["lr_scheduler_step", "optimizer_step"])
def test_a_checkpoint_within_an_optimizer_step_is_refused(tmp_path, hook):
    class Saves(PreferenceModule):
        pass

    def step(self: Any, *args: Any, **kwargs: Any) -> None:
        getattr(super(Saves, self), hook)(*args, **kwargs)
        self.trainer.save_checkpoint(tmp_path / "within.ckpt")

    setattr(Saves, hook, step)
    with pytest.raises(RunError, match=r"within optimizer step .*in on_train_batch_end; save there"):
        fit(tmp_path, kind=Saves)
    assert not (tmp_path / "within.ckpt").exists()


def test_an_optimizer_that_calls_its_closure_again_is_between_steps_by_then(tmp_path):
    class Saves(pl.Callback):
        calls = 0

        def on_before_zero_grad(self, trainer: pl.Trainer, *_: Any) -> None:
            self.calls += 1
            trainer.save_checkpoint(tmp_path / f"{self.calls}.ckpt")

    module = runs.module()
    module._optimizer = lambda groups: torch.optim.LBFGS([p for group in groups for p in group["params"]], lr=0.1)
    with pytest.raises(RunError, match="within optimizer step"):
        runs.trainer(callbacks=[Saves()]).fit(module, runs.data(tmp_path))
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["1.ckpt"]


# Lightning resumes by itself where there is an OnExceptionCheckpoint, and says so in odd words.
resumes_by_itself = pytest.mark.filterwarnings(
    "ignore:.*was called without a model", "ignore:.*there is no last checkpoint available"
)


class Fails(pl.Callback):
    """Raises in a hook after three optimizer steps."""

    def __init__(self, hook: str, error: BaseException) -> None:
        setattr(self, hook, lambda trainer, *_: self.fail(trainer))
        self.error = error

    def fail(self, trainer: pl.Trainer) -> None:
        if trainer.global_step == 3:
            raise self.error


@resumes_by_itself
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_before_optimizer_step", "on_validation_end"])
@pytest.mark.parametrize(
    "saving",
    [
        lambda path: ModelCheckpoint(path, "saved", save_on_exception=True, save_top_k=0),
        lambda path: OnExceptionCheckpoint(path, "saved"),
    ],
    ids=["ModelCheckpoint", "OnExceptionCheckpoint"],
)
def test_a_checkpoint_on_an_exception_is_of_the_last_step(tmp_path, saving, hook):
    whole = fit(tmp_path, val_check_interval=1)
    kept = saving(tmp_path / "saved")
    with pytest.raises(ValueError, match="a fault"):
        fit(tmp_path, Fails(hook, ValueError("a fault")), kept, val_check_interval=1, enable_checkpointing=True)
    rest = fit(tmp_path, ckpt_path=tmp_path / "saved/saved.ckpt", val_check_interval=1)
    assert min(rest[2]) == 3
    assert difference(whole, rest) == ""


@resumes_by_itself
def test_an_exception_within_an_optimizer_step_reaches_the_user_and_saves_nothing(tmp_path):
    class Faulty(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            super().step(closure)
            raise ValueError("within the step")

    module = runs.module()
    module._optimizer = partial(Faulty, lr=0.1)
    trainer = runs.trainer(callbacks=[OnExceptionCheckpoint(tmp_path / "saved")], enable_checkpointing=True)
    said = pytest.warns(UserWarning, match="no checkpoint .*on_exception.ckpt: the exception came within a step")
    with pytest.raises(ValueError, match="within the step"), said:
        trainer.fit(module, runs.data(tmp_path))
    assert not (tmp_path / "saved").exists()


@resumes_by_itself
def test_an_exception_before_the_first_step_reaches_the_user(tmp_path):
    class Fails(pl.Callback):
        def setup(self, *_: Any, **__: Any) -> None:
            raise ValueError("too early")

    trainer = runs.trainer(callbacks=[Fails(), OnExceptionCheckpoint(tmp_path)], enable_checkpointing=True)
    said = pytest.warns(UserWarning, match="no checkpoint .*: the exception came before the first step")
    with pytest.raises(ValueError, match="too early"), said:
        trainer.fit(runs.module(), runs.data(tmp_path))


@resumes_by_itself
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_stop_before_a_validation_goes_on_with_the_training_metrics(tmp_path):
    """What monitors a training metric, or reads one, at the validation that is run after the restart."""

    class Reads(pl.Callback):
        def __init__(self) -> None:
            self.seen: list[tuple[int, dict[str, float]]] = []

        def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
            values = runs.computed(trainer.callback_metrics)
            self.seen += [] if trainer.sanity_checking else [(trainer.global_step, values)]

    def watching() -> list[pl.Callback]:
        return [Reads(), ModelCheckpoint(tmp_path / "kept", monitor="train/loss", save_top_k=-1)]

    settings = {"val_check_interval": 1, "log_every_n_steps": 3, "enable_checkpointing": True}
    all_of, rest = watching(), watching()
    whole = fit(tmp_path, *all_of, **settings)
    stop = Fails("on_validation_batch_start", SIGTERMException())
    with pytest.raises(SIGTERMException):
        fit(tmp_path, stop, OnExceptionCheckpoint(tmp_path / "saved"), *watching(), **settings)
    again = fit(tmp_path, *rest, ckpt_path=tmp_path / "saved/on_exception.ckpt", **settings)
    assert difference(whole, again) == ""
    assert rest[0].seen == all_of[0].seen[2:]
    assert all("train/loss" in values for _, values in rest[0].seen)


@pytest.mark.parametrize("order", [0, 1], ids=["before", "after"])
@pytest.mark.parametrize("hook", ["on_validation_end", "on_train_epoch_end"])
def test_a_callback_that_saves_beside_early_stopping_counts_no_validation_twice(tmp_path, hook, order):
    class Saves(pl.Callback):
        saved = 0

        def save(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == 6 and not trainer.sanity_checking:
                trainer.save_checkpoint(tmp_path / "mine.ckpt")

    setattr(Saves, hook, Saves.save)

    def stopping() -> EarlyStopping:
        return EarlyStopping(
            "val/loss", patience=3, min_delta=1e9, check_on_train_epoch_end=hook == "on_train_epoch_end"
        )

    callbacks = [Saves(), stopping()]
    settings = {"max_epochs": 9, "val_check_interval": 3}
    whole = fit(tmp_path, *(callbacks if order else callbacks[::-1]), **settings)
    assert whole[0].global_step == 12
    rest = fit(tmp_path, stopping(), ckpt_path=tmp_path / "mine.ckpt", **settings)
    assert difference(whole, rest) == ""


def test_a_callback_that_saves_before_the_reference_moves_has_it_moved(tmp_path):
    class Saves(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == 3:
                trainer.save_checkpoint(tmp_path / "mine.ckpt")

    whole = fit(tmp_path, Saves(), EMAReference(decay=0.5))
    rest = fit(tmp_path, EMAReference(decay=0.5), ckpt_path=tmp_path / "mine.ckpt")
    assert difference(whole, rest) == ""


@pytest.mark.parametrize(
    "lora", [LoRA(r=2, use_dora=True), LoRA(r=2, modules_to_save=["lm_head"])], ids=["DoRA", "saved"]
)
def test_adapters_of_every_kind_load_by_themselves(run, tmp_path, lora):
    fitted = run(module=runs.module(runs.saved_model(tmp_path / "model"), lora=lora, lr=1e-2))
    fitted.trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = PreferenceModule.load_from_checkpoint(tmp_path / "a.ckpt")
    trained = {name: each for name, each in fitted.module.named_parameters() if each.requires_grad}
    assert all(torch.equal(each, trained[name]) for name, each in loaded.named_parameters() if each.requires_grad)
    values = [runs.trainer().validate(each, runs.data(tmp_path), verbose=False)[0] for each in (fitted.module, loaded)]
    assert values[0] == values[1]


def test_a_resumed_run_can_be_saved_before_its_first_step(tmp_path):
    class Saves(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            if not (tmp_path / f"at {trainer.global_step}.ckpt").exists():
                trainer.save_checkpoint(tmp_path / f"at {trainer.global_step}.ckpt")

    whole = fit(tmp_path, Saves())
    first = tmp_path / "at 2.ckpt"
    first.rename(tmp_path / "first.ckpt")
    fit(tmp_path, Saves(), ckpt_path=tmp_path / "first.ckpt")
    assert difference(whole, fit(tmp_path, ckpt_path=first)) == ""


class Plateau(PreferenceModule):
    """With a schedule that watches a metric after each epoch, or after each step."""

    interval = "epoch"

    def configure_optimizers(self) -> Any:
        optimizer = AdamW(self.parameters(), lr=1e-2)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, threshold=1e9)
        scheduler = {"scheduler": plateau, "interval": self.interval, "monitor": "train/loss", "frequency": 1}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize("log_every_n_steps", [1, 50])
def test_a_schedule_that_watches_the_training_loss_moves_once(tmp_path, interval, log_every_n_steps):
    kind = type("Plateaus", (Plateau,), {"interval": interval})
    settings = {"kind": kind, "log_every_n_steps": log_every_n_steps}
    at = {
        "steps": {"every_n_train_steps": 1},
        "epochs": {"every_n_epochs": 1, "save_on_train_epoch_end": True},
        "validations": {"every_n_epochs": 1, "save_on_train_epoch_end": False, "monitor": "val/loss"},
    }
    saves = [ModelCheckpoint(tmp_path / name, "{step}", save_top_k=-1, **when) for name, when in at.items()]
    whole = fit(tmp_path, *saves, enable_checkpointing=True, **settings)
    rate = whole[0].optimizers[0].param_groups[0]["lr"]
    assert rate == 1e-2 * 0.5 ** (2 if interval == "epoch" else 6)
    wrong = {}
    for path in sorted(tmp_path.glob("*/*.ckpt")):
        rest = fit(tmp_path, ckpt_path=path, **settings)
        wrong[str(path)] = difference(whole, rest)
        if rest[2] and rest[0].optimizers[0].param_groups[0]["lr"] != rate:
            wrong[str(path)] += "other rate"
    assert {name: what for name, what in wrong.items() if what} == {}


class SavesBeforeSteps(pl.Callback):
    """Saves before the step that the guard is about to make, or to skip, is made."""

    def on_before_zero_grad(self, trainer: Any, *_: Any) -> None:
        guards = [each for each in trainer.callbacks if isinstance(each, UpdateGuard)]
        self.seen = [*vars(self).get("seen", []), len(guards[0].state_dict()["norms"])]

    def on_before_optimizer_step(self, trainer: Any, *_: Any) -> None:
        self.on_before_zero_grad(trainer)


def test_the_update_guard_counts_a_step_when_it_is_made(run):
    saves = SavesBeforeSteps()
    run(UpdateGuard(spike=100.0), saves, max_epochs=1)
    assert saves.seen == [n for step in range(6) for n in (step, step)]
