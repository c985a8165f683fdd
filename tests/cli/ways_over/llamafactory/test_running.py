"""How LLaMA-Factory's configs run, here."""

from __future__ import annotations

from tests.cli.ways_over.made import config, llama_factory


def test_the_warm_up_in_either_spelling() -> None:
    ratio = config(llama_factory(warmup_ratio=0.1, lr_scheduler_type="cosine"))["model"]["schedule"]["init_args"]
    assert ratio == {"name": "cosine", "warmup": 0.1}
    assert config(llama_factory(warmup_ratio=0.1, warmup_steps=20))["model"]["schedule"]["init_args"]["warmup"] == 20


def test_defaults_are_those_of_transformers() -> None:
    found = config(llama_factory())
    assert found["model"]["optimizer"]["init_args"]["lr"] == 5e-5
    assert found["trainer"]["max_epochs"] == 3
    assert found["data"]["batch_pairs"] == 8
    assert found["trainer"]["log_every_n_steps"] == 500


def test_curves_and_an_early_end() -> None:
    found = config(llama_factory(output_dir="out", plot_loss=True, early_stopping_steps=3))["trainer"]
    assert found["logger"][-1] == {"class_path": "PlotLogger", "init_args": {"path": "out/curves.png"}}
    stop = {"monitor": "val/loss", "mode": "min", "patience": 3}
    assert found["callbacks"][-1] == {"class_path": "EarlyStopping", "init_args": stop}
