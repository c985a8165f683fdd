"""The models of a run: the policy and its reference, built together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from dpo_lightning.batch import PreferenceBatch
from dpo_lightning.batch.counted import counted_tokens
from dpo_lightning.logprobs import Statistic, TokenLogps, TokenScorer
from dpo_lightning.policy.experts import Experts
from dpo_lightning.policy.fused_layers import fuse_layers, fused_layers
from dpo_lightning.policy.modality import check_plain
from dpo_lightning.policy.run_layers import plain_layers
from dpo_lightning.policy.sharding import gather_model, meta_copy, shard, weights_on_rank_zero
from dpo_lightning.policy.source import PolicySource
from dpo_lightning.reference.base import Reference
from dpo_lightning.reference.frozen import FrozenCopy
from dpo_lightning.reference.identity import Identity, policy_start
from dpo_lightning.reference.settle import settle_reference
from dpo_lightning.utils.tensors import device_of


class Place(NamedTuple):
    """The precision, mesh and device of a run's models.

    Attributes:
        precision: Lightning's name of the precision; None without a Trainer.
        mesh: Device mesh that they are sharded over; None where each process holds them whole.
        device: Device of this process, which sharded models are put on, and by which layers are fused.
    """

    precision: str | None = None
    mesh: DeviceMesh | None = None
    device: torch.device = torch.device("cpu")


class RunModels:
    """The policy of a run, its reference and its scorer. It is no `nn.Module`: who holds it registers the policy.

    Args:
        source: Builds the policy.
        settings: The reference before it is bound; None for the default one.
        place: Where they are held.

    Attributes:
        policy: The model that is trained.
        reference: The reference, bound to it.
        identity: What both were before training, for checkpoints.
        scorer: Scores with the policy.
        experts: The routers of the policy, where it is a mixture of experts.
    """

    def __init__(self, source: PolicySource, settings: Reference | None, place: Place) -> None:
        self._source = source
        self._place = place
        trained_adapter = source.has_trained_adapter  # before a module is given the adapter that is trained here
        with weights_on_rank_zero(place.mesh):
            self.policy = source.build(place.precision, place.device, sharded=place.mesh is not None)
            check_plain(self.policy)
            start = policy_start(self.policy)
            settled = settle_reference(settings, self.policy, trained_adapter)
            self.reference = settled.bind(self.policy)
            if fused_layers(self.policy) and isinstance(settled, FrozenCopy):
                for model in self.reference.own_models():
                    fuse_layers(model, strict=False)
            self.identity = Identity.of(start, self.reference, settled, agreed=place.mesh is not None)
        if place.mesh is None:
            self.reference.hold_narrow(place.precision, place.device)
        self._structure: nn.Module | None = None
        if place.mesh is not None:
            self._structure = meta_copy(self.policy)
            plain_layers(self._structure)
            shard(self.policy, place.mesh, place.device, trained=True)
            for model in self.reference.own_models():
                shard(model, place.mesh, place.device, trained=False)
        self.scorer = TokenScorer(self.policy)
        self.experts = Experts(self.policy, source.options.router_aux_loss_coef)

    def scored(self, batch: PreferenceBatch, statistics: Sequence[Statistic] = ()) -> TokenLogps:
        """Score a batch with the policy, and note what its routers choose."""
        with self.experts.watched(partial(counted_tokens, batch)):
            return self.scorer(batch, statistics)

    def whole_policy(self) -> nn.Module | None:
        """Return the policy; of a sharded one a whole copy in rank 0's CPU memory, None elsewhere. All must call."""
        return self.policy if self._structure is None else gather_model(self.policy, self._structure)

    def policy_again(self) -> nn.Module:
        """Load the policy once more, as it was before training.

        Raises:
            InputError: when it was given as a module.
        """
        with weights_on_rank_zero(self._place.mesh):
            policy = self._source.build_again(self._place.precision, sharded=self._place.mesh is not None)
        if self._place.mesh is None:
            return policy.to(device_of(self.policy))
        shard(policy, self._place.mesh, device_of(self.policy), trained=False)
        return policy

    @cached_property
    def tree_problem(self) -> str | None:
        """The reason why the tree layout is wrong for policy or reference, in one line; None where it is right.

        The answer is that of a self-test of both models, run once.
        """
        device = device_of(self.policy)
        own = [("reference", model.to(device)) for model in self.reference.own_models()]
        for role, model in [("policy", self.policy), *own]:
            if problem := TokenScorer(model).tree_problem():
                return f"the tree layout does not fit the {role}: {problem}"
        return None
