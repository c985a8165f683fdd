"""A run is resumed from the newest undamaged checkpoint, whatever happened to the process and to the others."""

from __future__ import annotations

import functools
import io
import os
import pickle
import signal
import sys
import time
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dpo_lightning import LoRA, PreferenceModule
from dpo_lightning.callbacks import ResumableCheckpoint
from dpo_lightning.checkpoints import DurableCheckpointIO, SaveError, problem
from dpo_lightning.cli.main import main
from dpo_lightning.errors import InputError
from dpo_lightning.utils.files import temporary_name
from tests.helpers.ranks import start_command
from tests.helpers.runs import data, module, saved_model, trainer, write_rows
from tests.helpers.saved import TouchesAFile, flip, forked, reports, spoil, truncate, web_server


class Raises(pl.Callback):
    """At a hook of a chosen batch."""

    def __init__(self, error: BaseException, hook: str, at: int) -> None:
        setattr(self, hook, functools.partial(self._raise, error, at))

    @staticmethod
    def _raise(error: BaseException, at: int, trainer: pl.Trainer, *rest: object) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx == at:
            raise error


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def run(path: Path, steps: int, *callbacks: pl.Callback, every: int | None = 1, keep: int = 2, **settings):
    """Fit a tiny model with checkpoints in a directory; the Trainer and the callback."""
    saving = ResumableCheckpoint(str(path / "saved"), every, keep)
    fit = trainer(callbacks=[*callbacks, saving], max_steps=steps, enable_checkpointing=True, **settings.pop("to", {}))
    model = settings.pop("model", None) or module(lr=1e-2)
    fit.fit(model, data(path), ckpt_path=settings.pop("ckpt_path", "last"))
    return fit, saving, model


pytestmark = pytest.mark.filterwarnings("ignore:.*there is no last checkpoint available:UserWarning")


def test_the_newest_are_kept_and_hold_plain_types_only(tmp_path):
    _, saving, _ = run(tmp_path, 5, keep=2)
    assert names(tmp_path / "saved") == ["step=4.ckpt", "step=5.ckpt"]
    assert saving.best_model_path == str(tmp_path / "saved/step=5.ckpt")
    for name in names(tmp_path / "saved"):
        assert problem(tmp_path / "saved" / name) is None
        torch.load(tmp_path / "saved" / name, weights_only=True)


def test_the_end_is_saved_also_between_two_saves(tmp_path):
    run(tmp_path, 5, every=3)
    assert names(tmp_path / "saved") == ["step=3.ckpt", "step=5.ckpt"]


def test_without_an_interval_each_epoch_is_saved(tmp_path):
    run(tmp_path, -1, every=None, keep=3, to={"max_epochs": 2})
    assert names(tmp_path / "saved") == ["step=12.ckpt", "step=6.ckpt"]


def test_a_lora_checkpoint_holds_the_adapter_and_its_optimizer_state_only(tmp_path):
    (tmp_path / "full").mkdir(), (tmp_path / "lora").mkdir()
    *_, full = run(tmp_path / "full", 1)
    *_, lora = run(tmp_path / "lora", 1, model=module(lora=LoRA(r=2)))
    sizes = {}
    for name, model in {"full": full, "lora": lora}.items():
        path = tmp_path / name / "saved/step=1.ckpt"
        saved = torch.load(path, weights_only=True)
        trained = [p for p in model.parameters() if p.requires_grad]
        assert [value.numel() for value in saved["state_dict"].values()] == [p.numel() for p in trained]
        moments = [v for s in saved["optimizer_states"][0]["state"].values() for v in s.values() if v.ndim]
        assert sum(v.numel() for v in moments) == 2 * sum(p.numel() for p in trained)
        sizes[name] = path.stat().st_size / (12 * sum(p.numel() for p in trained))  # 3 float32 numbers a parameter
    assert sizes["full"] < 1.7
    assert (tmp_path / "lora/saved/step=1.ckpt").stat().st_size < (tmp_path / "full/saved/step=1.ckpt").stat().st_size


def test_resuming_takes_over_what_is_kept(tmp_path):
    run(tmp_path, 3)
    run(tmp_path, 4)
    assert names(tmp_path / "saved") == ["step=3.ckpt", "step=4.ckpt"]


@pytest.mark.parametrize(
    ("kept", "taken"),
    [(["../precious", "{root}/precious", "step=1.ckpt"], ["step=1.ckpt"]), (["../saved/step=1.ckpt"], []), (5, [])],
)
def test_what_a_file_names_beside_the_runs_own_checkpoints_is_left_alone(tmp_path, kept, taken):
    (tmp_path / "precious").mkdir()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/step=1.ckpt").touch()
    saving = ResumableCheckpoint(str(tmp_path / "saved"))
    saving.load_state_dict({"kept": [each.format(root=tmp_path) for each in kept] if isinstance(kept, list) else kept})
    assert saving.state_dict() == {"kept": taken}


def test_last_falls_back_and_names_the_bad_one(tmp_path):
    run(tmp_path, 4, keep=3)
    spoil(tmp_path / "saved/step=4.ckpt")
    truncate(tmp_path / "saved/step=3.ckpt", 5000)
    with pytest.warns(UserWarning, match="is skipped") as warned:
        fit, *_ = run(tmp_path, 6, keep=3)
    assert fit.ckpt_path == str(tmp_path / "saved/step=2.ckpt")
    skipped = [str(warning.message) for warning in warned if "is skipped" in str(warning.message)]
    assert ["step=4.ckpt" in skipped[0], "step=3.ckpt" in skipped[1]] == [True, True]
    assert names(tmp_path / "saved") == ["step=4.ckpt", "step=5.ckpt", "step=6.ckpt"]
    assert problem(tmp_path / "saved/step=4.ckpt") is None


@pytest.mark.filterwarnings("ignore:checkpoint .* is skipped:UserWarning")
def test_a_run_whose_checkpoints_are_all_bad_does_not_begin_anew(tmp_path):
    run(tmp_path, 1)
    spoil(tmp_path / "saved/step=1.ckpt")
    with pytest.raises(InputError, match="no good checkpoint in"):
        run(tmp_path, 2)


def test_a_fresh_run_does_not_mix_with_another(tmp_path):
    run(tmp_path, 2)
    with pytest.raises(InputError, match=r"step=2.ckpt is ahead of this run, which starts from step 0: resume with"):
        run(tmp_path, 2, ckpt_path=None)
    with pytest.raises(InputError, match=r"step=2.ckpt is ahead of this run, which starts from step 1"):
        run(tmp_path, 2, ckpt_path=str(tmp_path / "saved/step=1.ckpt"))
    assert names(tmp_path / "saved") == ["step=1.ckpt", "step=2.ckpt"]


def test_another_directorys_checkpoints_are_not_deleted(tmp_path):
    run(tmp_path, 2)
    other = tmp_path / "other"
    (other / "saved").mkdir(parents=True)
    (other / "saved/step=1.ckpt").write_text("of another run")
    run(other, 5, keep=1, ckpt_path=str(tmp_path / "saved/step=2.ckpt"))
    assert names(other / "saved") == ["step=1.ckpt", "step=5.ckpt"]
    assert names(tmp_path / "saved") == ["step=1.ckpt", "step=2.ckpt"]


@pytest.mark.parametrize(("hook", "batch"), [("on_train_batch_start", 3), ("on_train_batch_end", 2)])
@pytest.mark.parametrize("error", [ValueError("a fault"), SIGTERMException()])
def test_an_exception_saves_the_last_step(tmp_path, error, hook, batch):
    with pytest.raises(type(error)):
        run(tmp_path, 9, Raises(error, hook, batch), every=2, to={"accumulate_grad_batches": 1})
    assert names(tmp_path / "saved") == ["step=2.ckpt", "step=3.ckpt"]


@pytest.mark.parametrize(
    ("error", "hook"),
    [
        (KeyboardInterrupt(), "on_train_batch_start"),
        (SaveError("the disk is full"), "on_train_batch_start"),
    ],
    ids=["impatience", "full disk"],
)
def test_what_may_be_torn_or_cannot_be_written_is_not_saved(tmp_path, error, hook):
    expected = SystemExit if isinstance(error, KeyboardInterrupt) else type(error)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(expected):
            run(tmp_path, 9, Raises(error, hook, 3), every=2)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert names(tmp_path / "saved") == ["step=2.ckpt"]


def test_a_run_that_fails_before_its_first_step_saves_nothing(tmp_path):
    with pytest.raises(ValueError, match="early"):
        run(tmp_path, 9, Raises(ValueError("early"), "on_train_batch_start", 0))
    assert not (tmp_path / "saved").exists()
    run(tmp_path, 2)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "saved").iterdir()}
    with pytest.raises(ValueError, match="early"):
        run(tmp_path, 9, Raises(ValueError("early"), "on_train_batch_start", 2))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "saved").iterdir()} == before


class FillsTheDisk(pl.Callback):
    """Before the save of a step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_start(self, *_: object) -> None:
        self.path.parent.mkdir(exist_ok=True)
        temporary_name(self.path).symlink_to("/dev/full")


def test_a_full_disk_stops_the_run_which_then_goes_on(tmp_path):
    with pytest.raises(SaveError, match=r"step=2.ckpt could not be written: the disk is full"):
        run(tmp_path, 4, FillsTheDisk(tmp_path / "saved/step=2.ckpt"))
    assert names(tmp_path / "saved") == ["step=1.ckpt"]
    fit, *_ = run(tmp_path, 4)
    assert fit.ckpt_path.endswith("step=1.ckpt")
    assert names(tmp_path / "saved") == ["step=3.ckpt", "step=4.ckpt"]


def test_a_failed_rescue_does_not_hide_the_fault(tmp_path):
    fills = FillsTheDisk(tmp_path / "saved/step=3.ckpt")
    with (
        pytest.warns(UserWarning, match=r"no checkpoint of step 3: .*the disk is full"),
        pytest.raises(ValueError, match="a fault"),
    ):
        run(tmp_path, 9, fills, Raises(ValueError("a fault"), "on_train_batch_start", 3), every=2)
    assert names(tmp_path / "saved") == ["step=2.ckpt"]


def test_leftovers_are_cleared_up_at_the_next_start(tmp_path):
    run(tmp_path, 1)
    temporary_name(tmp_path / "saved/step=2.ckpt").write_text("half")
    run(tmp_path, 2)
    assert names(tmp_path / "saved") == ["step=1.ckpt", "step=2.ckpt"]


def test_every_run_of_the_module_saves_durably_unless_it_has_its_own_way(tmp_path):
    for plugin, expected in ((None, DurableCheckpointIO), (Other(), Other)):
        plain = ModelCheckpoint(tmp_path / expected.__name__, every_n_train_steps=1)
        fit = trainer(callbacks=[plain], plugins=plugin and [plugin], max_steps=1, enable_checkpointing=True)
        fit.fit(module(), data(tmp_path))
        assert type(fit.strategy.checkpoint_io) is expected


class Other(TorchCheckpointIO):
    """A plugin of the user's."""


@pytest.mark.parametrize("stage", ["fit", "validate"])
def test_a_malicious_checkpoint_does_not_run(tmp_path, stage):
    torch.save({"state_dict": TouchesAFile(tmp_path / "ran")}, tmp_path / "evil.ckpt")
    with pytest.raises(InputError, match="holds more than plain types"):
        getattr(trainer(), stage)(module(), datamodule=data(tmp_path), ckpt_path=str(tmp_path / "evil.ckpt"))
    with pytest.raises(InputError, match="holds more than plain types"):
        PreferenceModule.load_from_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "ran").exists()


def test_a_url_is_resumed_from_and_its_code_does_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    model = module(saved_model(tmp_path / "model"), lr=1e-2)
    run(tmp_path, 2, model=model)
    torch.save({"state_dict": TouchesAFile(tmp_path / "ran")}, tmp_path / "saved/evil.ckpt")
    with web_server(tmp_path / "saved") as url:
        with pytest.raises(InputError, match=r"http://.*/evil.ckpt holds more than plain types"):
            trainer().fit(module(), data(tmp_path), ckpt_path=f"{url}/evil.ckpt")
        with pytest.raises(InputError, match=r"http://.*/evil.ckpt holds more than plain types"):
            PreferenceModule.load_from_checkpoint(f"{url}/evil.ckpt")
        fit = trainer(max_steps=3)
        fit.fit(module(str(tmp_path / "model"), lr=1e-2), data(tmp_path), ckpt_path=f"{url}/step=2.ckpt")
        loaded = PreferenceModule.load_from_checkpoint(f"{url}/step=2.ckpt")
    assert fit.global_step == 3
    state = model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sharded_checkpoints_are_kept_resumed_and_examined(tmp_path):
    """One process, with the strategy that shards, in a child: it leaves a process group."""
    name = saved_model(tmp_path / "model")
    settings = {"every": 1, "keep": 2}

    def fits(report):
        os.environ["MASTER_PORT"] = "0"
        for steps in (3, 5):
            strategy = ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=1)
            fit, *_ = run(tmp_path, steps, model=module(name, lr=1e-2), to={"strategy": strategy}, **settings)
            report(f"{Path(str(fit.ckpt_path)).name} {names(tmp_path / 'saved')}")
            newest = tmp_path / f"saved/step={steps}.ckpt"
            report(str([problem(path) for path in (tmp_path / "saved").iterdir()]))
            flip(next(newest.glob("*.distcp")), 1000)
        for path, kind in ((newest, "distcp"), (newest.with_name("step=4.ckpt"), ".metadata")):
            if kind == ".metadata":
                (path / ".metadata").write_bytes(pickle.dumps(TouchesAFile(tmp_path / "ran")))
                (path / "manifest.json").unlink()
            strategy = ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=1)
            try:
                trainer(strategy=strategy).fit(module(name), data(tmp_path), ckpt_path=str(path))
            except InputError as error:
                report(str(error))

    first, whole, second, whole_too, *refused = reports(*forked(fits))
    assert first == "None ['step=2.ckpt', 'step=3.ckpt']"
    assert second == "step=2.ckpt ['step=4.ckpt', 'step=5.ckpt']"
    assert whole == whole_too == "[None, None]"
    assert ".distcp is corrupt" in refused[0]
    assert "cannot be read as plain data" in refused[1]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("settings", [{"keep": 0}, {"every_n_train_steps": 0}, {"dirpath": "s3://bucket/run"}])
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(InputError, match="ResumableCheckpoint"):
        ResumableCheckpoint(**{"dirpath": "saved", **settings})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A directory with a run, and the arguments that start or resume it."""
    saving = {"dirpath": "saved", "every_n_train_steps": 2}
    config = {
        "model": {
            "policy": saved_model(tmp_path / "model"),
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
        },
        "data": {"dataset": write_rows(tmp_path / "pairs.jsonl", 120), "val_split": "train[:8]", "batch_pairs": 2},
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 1,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": [{"class_path": "ResumableCheckpoint", "init_args": saving}],
        },
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    return ["--config", "run.yaml", "--ckpt_path", "last"]


def test_the_command_goes_on_after_a_kill_as_if_there_had_been_none(project):
    process = start_command(["fit", *project], Path.cwd())
    while not list(Path().glob("saved/step=*.ckpt")) and process.is_alive():
        time.sleep(0.01)
    time.sleep(0.1)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert "step=60.ckpt" not in names(Path("saved"))
    main(["fit", *project])
    resumed = torch.load("saved/step=60.ckpt", weights_only=True)
    Path("saved").rename("resumed")
    main(["fit", *project])
    straight = torch.load("saved/step=60.ckpt", weights_only=True)
    assert resumed["global_step"] == straight["global_step"] == 60
    for name, value in straight["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name
    main(["validate", *project])


def test_the_command_names_a_broken_file_and_runs_no_code(project):
    main(["fit", *project, "--trainer.max_epochs=-1", "--trainer.max_steps=2"])
    path = Path("saved/step=2.ckpt")
    whole = path.read_bytes()
    evil = io.BytesIO()
    torch.save({"state_dict": TouchesAFile(Path("ran").absolute())}, evil)
    breaks = {
        "its record": lambda: spoil(path),
        "it is no whole torch checkpoint": lambda: truncate(path, 5000),
        "holds more than plain types": lambda: path.write_bytes(evil.getvalue()),
    }
    for message, break_it in breaks.items():
        path.write_bytes(whole)
        break_it()
        for command in ("fit", "validate", "predict"):
            with pytest.raises(SystemExit) as stopped:
                main([command, "--config", "run.yaml", "--ckpt_path", str(path)])
            assert str(stopped.value.code).startswith("error: checkpoint saved/step=2.ckpt")
            assert message in str(stopped.value.code)
    assert not Path("ran").exists()
