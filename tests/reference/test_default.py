"""The reference of a run that names none."""

from __future__ import annotations

import pytest

from dpo_lightning.policy.lora import LoRA
from dpo_lightning.reference import AdapterOff, FrozenAdapter, FrozenCopy, Reference, default_reference
from tests.reference.common import BATCH, distance, logps, policy_of


@pytest.mark.parametrize(
    ("lora", "trained", "kind"),
    [(None, False, FrozenCopy), (LoRA(r=2), False, AdapterOff), (LoRA(r=2), True, FrozenAdapter)],
    ids=["full", "new adapter", "trained adapter"],
)
def test_the_default_equals_the_policy(lora: LoRA | None, trained: bool, kind: type[Reference]) -> None:
    policy = policy_of(lora=lora)
    settings = default_reference(policy, trained)
    reference = settings.bind(policy)

    assert type(settings) is kind
    assert distance(reference.token_logps(BATCH), logps(policy)) == 0.0
