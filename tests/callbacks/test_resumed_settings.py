"""A run that goes on has the optimizer that it was asked for."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch.optim import SGD, AdamW

from dpo_lightning import DPO, IPO, Cosine, PairedBCO, PreferenceModule
from dpo_lightning.errors import InputError
from tests.helpers.runs import Losses, data, module, saved_model, trainer

SLOW = partial(AdamW, lr=1e-6, weight_decay=0.5, betas=(0.5, 0.6), eps=1e-6)


class Rates(Losses):
    """Keeps the rate of every step too."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])


def saved(path: Path, steps: int = 3, **settings) -> str:
    """A checkpoint of three steps."""
    run = trainer(max_steps=steps)
    run.fit(module(saved_model(path / "model"), **settings), data(path))
    run.save_checkpoint(path / "saved.ckpt")
    return str(path / "saved.ckpt")


def resumed(path: Path, steps: int = 5, **settings):
    """The run that goes on from it, and what its steps were."""
    rates = Rates()
    run = trainer(max_steps=steps, callbacks=[rates])
    run.fit(module(str(path / "model"), **settings), data(path), ckpt_path=path / "saved.ckpt")
    return run, rates


@pytest.mark.parametrize("optimizer", [SLOW, lambda params: AdamW(params, **SLOW.keywords)], ids=["held", "function"])
def test_another_setting_is_refused_by_name_or_applied(tmp_path, caplog, optimizer):
    saved(tmp_path, optimizer=partial(AdamW, lr=1e-3, weight_decay=0.1))
    wanted = r"optimizer.lr 0.001, and this run asks for 1e-06; .*betas.*eps.*weight_decay.*model.resume=changed"
    with pytest.raises(InputError, match=wanted) as refused:
        resumed(tmp_path, optimizer=optimizer)
    assert "\n" not in str(refused.value)
    with caplog.at_level("INFO"):
        run, rates = resumed(tmp_path, optimizer=optimizer, resume="changed")
    assert rates.rates == [1e-6, 1e-6]
    matrices, norms = run.optimizers[0].param_groups
    assert (matrices["weight_decay"], matrices["betas"], matrices["eps"]) == (0.5, (0.5, 0.6), 1e-6)
    assert norms["weight_decay"] == 0.0
    said = [message for message in caplog.messages if message.startswith("model.resume=changed")]
    assert len(said) == 4  # each once, although there are two groups
    run.save_checkpoint(tmp_path / "saved.ckpt")
    assert resumed(tmp_path, 6, optimizer=optimizer)[1].rates == [1e-6]


def test_another_optimizer_is_refused_or_begins_without_a_state(tmp_path, caplog):
    saved(tmp_path)
    sgd = partial(SGD, lr=0.1, momentum=0.9)
    with pytest.raises(InputError, match="had optimizer AdamW, and this run asks for SGD"):
        resumed(tmp_path, optimizer=sgd)
    with caplog.at_level("INFO"):
        run, rates = resumed(tmp_path, optimizer=sgd, resume="changed")
    assert rates.rates == [0.1, 0.1]
    assert "the optimizer begins without a state" in caplog.text
    assert {*next(iter(run.optimizers[0].state.values()))} == {"momentum_buffer"}


def test_another_optimizer_than_that_of_an_older_checkpoint_is_refused(tmp_path):
    path = saved(tmp_path, optimizer=partial(SGD, lr=0.1))
    before = torch.load(path, weights_only=True)
    del before["optimizers"], before["identity"]
    torch.save(before, path)
    with pytest.raises(InputError, match="had optimizer without amsgrad, betas"):
        resumed(tmp_path)
    assert resumed(tmp_path, optimizer=partial(SGD, lr=0.1))[1].rates == [0.1, 0.1]


def test_a_finished_cosine_that_is_extended_says_where_the_rate_goes_on(tmp_path, caplog):
    cosine = {"schedule": Cosine(warmup=0), "lr": 1e-2}
    saved(tmp_path, **cosine)
    straight = Rates()
    trainer(max_steps=6, callbacks=[straight]).fit(module(str(tmp_path / "model"), **cosine), data(tmp_path))
    with caplog.at_level("INFO"):
        _, rates = resumed(tmp_path, 6, **cosine)
    assert rates.rates == straight.rates[3:]
    assert "after 3 steps the learning rate goes on at 0.005, where that run had come to 0" in caplog.text
    caplog.clear()
    assert resumed(tmp_path, 6, **cosine)[1].rates == rates.rates


def test_another_schedule_is_refused_or_goes_on_from_the_step(tmp_path):
    saved(tmp_path)
    with pytest.raises(InputError, match="had schedule Constant, and this run asks for Cosine"):
        resumed(tmp_path, schedule=Cosine(warmup=0))
    _, rates = resumed(tmp_path, 6, schedule=Cosine(warmup=0), resume="changed")
    assert rates.rates[0] == pytest.approx(0.0005)


def test_another_objective_is_refused_or_begins_its_means_anew(tmp_path):
    saved(tmp_path, objective=PairedBCO())
    with pytest.raises(InputError, match="had objective PairedBCO, and this run asks for IPO"):
        resumed(tmp_path, objective=IPO())
    run, _ = resumed(tmp_path, objective=IPO(), resume="changed")
    assert run.lightning_module.running_mean.seen.sum() == 0
    assert run.lightning_module.objective == IPO()


def test_what_decides_no_number_may_change(tmp_path):
    saved(tmp_path, lr=1e-2)
    _, straight = resumed(tmp_path, lr=1e-2)
    _, rates = resumed(tmp_path, lr=1e-2, gradient_checkpointing=True, step_zero_check=False)
    assert rates.losses == pytest.approx(straight.losses, rel=1e-5)


def test_a_schedule_that_a_subclass_leaves_out_leaves_the_rate_that_was_asked(tmp_path):
    class WithoutSchedule(PreferenceModule):
        def configure_optimizers(self):
            return AdamW(self.parameters(), lr=1e-3, weight_decay=0.1)

    saved(tmp_path, schedule=Cosine(warmup=0))
    rates = Rates()
    again = WithoutSchedule(str(tmp_path / "model"), DPO(), schedule=Cosine(warmup=0), resume="changed")
    trainer(max_steps=5, callbacks=[rates]).fit(again, data(tmp_path), ckpt_path=tmp_path / "saved.ckpt")
    assert rates.rates == [1e-3, 1e-3]
