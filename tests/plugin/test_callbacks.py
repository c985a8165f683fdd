"""Lightning's callbacks on a preference run."""

from __future__ import annotations

from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint


def test_early_stopping_on_a_validation_metric(run):
    assert run(EarlyStopping("val/loss", patience=1, min_delta=1e9), max_epochs=9).trainer.current_epoch == 2


def test_early_stopping_on_a_training_metric(run):
    stop = EarlyStopping("train/loss", patience=1, min_delta=1e9, check_on_train_epoch_end=True)
    assert run(stop, max_epochs=9).trainer.current_epoch == 2


def test_model_checkpoint_keeps_the_best(run, tmp_path):
    keep = ModelCheckpoint(tmp_path / "kept", monitor="val/loss", save_top_k=1, filename="{step}")
    fitted = run(keep, enable_checkpointing=True)
    assert [str(path) for path in (tmp_path / "kept").glob("*.ckpt")] == [keep.best_model_path]
    assert keep.best_model_score <= fitted.metrics["val/loss"]
