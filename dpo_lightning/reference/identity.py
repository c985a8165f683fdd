"""The policy of a run and its reference before training, as far as a checkpoint must know them again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.policy.samples import own_tensors, sampled
from dpo_lightning.reference.base import BoundReference, Reference
from dpo_lightning.reference.cache.weights import model_settings
from dpo_lightning.utils.ranks import from_rank_zero
from dpo_lightning.utils.tensors import device_of, float_dtype_of

# The dtype of a computation is the run's precision.
_NO_QUANTIZATION_SETTINGS = ("bnb_4bit_compute_dtype", "llm_int8_enable_fp32_cpu_offload")


class Identity(NamedTuple):
    """A run's policy and reference before training.

    Attributes:
        policy: Samples of the policy's weights, and the settings of model, adapters and quantization, in plain types.
        reference: Samples of the reference's own weights, and their hash where it has one, in plain types.
        settings: The reference before it was bound, settled: the default one where none was given.
    """

    policy: Mapping[str, Any]
    reference: Mapping[str, Any]
    settings: Reference

    @classmethod
    def of(cls, policy: Mapping[str, Any], reference: BoundReference, settings: Reference, *, agreed: bool) -> Identity:
        """Take the identity of a run while its models hold their first weights.

        Args:
            policy: What `policy_start` gave.
            reference: The reference, just bound.
            settings: Its settings.
            agreed: Whether ranks other than 0 have no weights, and take rank 0's word; then every rank must call.
        """
        own = {"weights": sampled(reference.own_weights()), "hash": reference.weights_hash}
        policy, own = from_rank_zero((policy, own)) if agreed else (policy, own)
        return cls(policy, own, settings)


def policy_start(policy: nn.Module) -> dict[str, Any]:
    """Return what tells a policy from another one, before a reference is bound to it.

    New adapters are left out: a checkpoint holds them. Of all other weights there are samples, whether they are trained
    or not; the precision of the run is theirs.
    """
    adapted = is_adapted(policy)
    weights = {name: w for name, w in own_tensors(policy).items() if not (adapted and w.requires_grad)}
    settings = json.loads(json.dumps(model_settings(policy, adapters=True), sort_keys=True, default=str))
    quantization = settings["model"].pop("quantization_config", None) or {}
    return {
        "weights": sampled(weights),
        "model": settings["model"],
        "adapters": settings.get("adapters", {}),
        "quantization": {name: v for name, v in quantization.items() if name not in _NO_QUANTIZATION_SETTINGS},
        "dtype": str(float_dtype_of(policy)).removeprefix("torch."),
        "device": device_of(policy).type,
    }
