"""Models that generate; `generate` tests what they say, of checkpoints, models and adapters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.policy_models import models_of, on_its_device, tokenizer_of
from dpo_lightning.rounds.saved_policy import run_settings
from tests.helpers.runs import saved_model
from tests.helpers.tiny import tiny_llama

RUN = run_settings(None, "generate")


def test_a_whole_model_has_a_tokenizer_and_no_reference(tmp_path: Path) -> None:
    source = saved_model(tmp_path / "model")
    with models_of(source, RUN) as models:
        assert models.name == source
        assert models.reference is None
        weights = dict(tiny_llama().named_parameters())
        assert all(torch.equal(each, weights[name]) for name, each in models.policy.named_parameters())
        assert tokenizer_of(models, RUN, "generate").eos_token == "</s>"
        assert on_its_device(models.policy) is models.policy
    with pytest.raises(InputError, match="is a whole model"), models_of(source, RUN, with_reference=True):
        pass


def test_a_model_without_a_tokenizer(tmp_path: Path) -> None:
    tiny_llama().save_pretrained(tmp_path / "model")
    with models_of(str(tmp_path / "model"), RUN) as models, pytest.raises(InputError, match="pivots: no tokenizer"):
        tokenizer_of(models, RUN, "pivots")
