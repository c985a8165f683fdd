"""Modules of one's own, and one module in many runs."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Callback

from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import tiny_llama


def settings(policy):
    rates = (policy.config.attention_dropout, policy.model.layers[0].self_attn.attention_dropout)
    return policy.config.use_cache, *rates, policy.training


class Fails(Callback):
    """Ends a fit with an error, and keeps the policy's settings until then."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.seen = settings(pl_module.policy)
        raise ZeroDivisionError


def test_a_given_policy_has_its_settings_back_after_the_fit(run):
    policy = tiny_llama(attention_dropout=0.5).eval()
    fitted = run(module=module(policy))
    assert settings(policy) == (True, 0.5, 0.5, False)
    fitted.trainer.validate(fitted.module, fitted.trainer.datamodule, verbose=False)
    assert settings(policy) == (True, 0.5, 0.5, False)


def test_a_given_policy_has_its_settings_back_after_an_error_and_the_next_fit_prepares_it(run):
    policy = tiny_llama(attention_dropout=0.5).eval()
    model = module(policy, step_zero_check=False)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            run(fails := Fails(), module=model)
        assert fails.seen == (False, 0.0, 0.0, True)
        assert settings(policy) == (True, 0.5, 0.5, False)


def test_fits_of_one_module_go_on_from_one_another(run, tmp_path):
    model = module(step_zero_check=False)
    first = run(module=model)
    second = run(module=model)
    assert second.losses[0] < first.losses[0]
    again = module(step_zero_check=False)
    for _ in range(2):
        trainer(max_steps=-1, max_epochs=2).fit(again, data(tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
