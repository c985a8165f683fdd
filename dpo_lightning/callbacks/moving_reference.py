"""References that follow the policy while it is trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from dpo_lightning.checkpoints.contents import CALLBACKS
from dpo_lightning.checkpoints.schedules import is_plain
from dpo_lightning.checkpoints.settings import differences, refuse_or_tell
from dpo_lightning.errors import InputError
from dpo_lightning.policy.sharding import on_rank_zero, placed_like
from dpo_lightning.reference import Followed, ReferenceMover
from dpo_lightning.run import run_of
from dpo_lightning.utils.kinds import check_kinds
from dpo_lightning.utils.settings import NOT_NEGATIVE, Rule, at_least
from dpo_lightning.utils.trainers import is_fitting

Weights = Mapping[str, Followed]


class MovingReference(pl.Callback, ReferenceMover):
    """Base of every way of moving the reference: when it is done, what it needs, and what a checkpoint holds.

    Steps are batches in which an optimizer changed the policy, called by Lightning or by hand: one that `UpdateGuard`
    or a scaler skips is none. (Of a fused optimizer under `16-mixed`, only the device knows, and it counts.) The
    reference is `FrozenCopy`, or with adapters `FrozenAdapter`, which shares the base weights. Loss, rewards and
    margins are those against the reference of the moment, in validation too.

    With adapters each matrix moves by itself. A copied adapter is exact; a mixed one is not the mixed change of the
    weights, which would need twice the rank. With policy `BA`, reference `B'A'` and share `a` of the
    policy, the two differ by the product of the differences:

    .. math::
        (aB + (1-a)B')(aA + (1-a)A') = aBA + (1-a)B'A' - a(1-a)(B-B')(A-A')

    Averages are kept in float32 where weights have less: 0.999 of a bfloat16 weight plus 0.001 of one nearby is the
    first again. A checkpoint holds the reference beside the policy. Of a sharded one it holds it whole, and so does the
    CPU's memory of rank 0 while it saves, and of each process while it loads.

    Args:
        every: Steps from one move to the next.
    """

    def __init__(self, every: int) -> None:
        check_kinds(f"{type(self).__name__}.", {"every": int}, {"every": every})
        at_least(1).check(f"{type(self).__name__}.every", every)
        self.every = every
        self._steps = 0
        self._has_stepped = False
        self._handles: list[RemovableHandle] = []
        self._kept: dict[str, dict[str, Tensor]] = {}

    @abstractmethod
    def keep(self, weights: Weights) -> dict[str, dict[str, Tensor]]:
        """Return what is needed beside the weights, taken before the first step: by kind and the name of the weight."""

    @abstractmethod
    def move(self, weights: Weights, step: int) -> None:
        """Change the reference in place, after a step, counted from 1; without a graph."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse a reference that cannot move.

        Raises:
            InputError: saying what to use instead.
        """
        if not run_of(pl_module, type(self).__name__).reference.followed():
            raise InputError(f"{type(self).__name__}: the run compares with no reference: leave the callback out")
        movers = [type(callback).__name__ for callback in _callbacks(trainer) if isinstance(callback, MovingReference)]
        if len(movers) > 1:
            raise InputError(f"{' and '.join(movers)} would both move the reference: leave one out")
        if trainer.estimated_stepping_batches < self.every:
            rank_zero_warn(
                f"{type(self).__name__} moves the reference every {self.every} steps, and the run has "
                f"{trainer.estimated_stepping_batches}: it stays where it is. Give a smaller `every`"
            )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin anew, or go on from the checkpoint."""
        if trainer.global_step == 0:
            self._steps, self._kept = 0, {}
        reference = run_of(pl_module, type(self).__name__).reference
        weights = reference.followed()
        kept = self._kept if self._steps else self.keep(weights)
        self._kept = {
            kind: {name: placed_like(tensor, weights[name].policy) for name, tensor in tensors.items()}
            for kind, tensors in kept.items()
        }
        reference.moved_by = type(self).__name__
        self._let_go()
        self._handles = [optimizer.register_step_post_hook(self._after_step) for optimizer in trainer.optimizers]

    def _after_step(self, optimizer: Optimizer, *_: Any) -> None:
        """Note a step that has changed weights: gradients of a skipped one are gone."""
        parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
        self._has_stepped = self._has_stepped or any(parameter.grad is not None for parameter in parameters)

    def _let_go(self) -> None:
        self._has_stepped = False
        while self._handles:
            self._handles.pop().remove()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let go of the optimizers."""
        self._let_go()

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the reference where a step was made and it is due: before the step's end can be saved."""
        if not self._has_stepped:
            return
        self._has_stepped = False
        self._steps += 1
        if self._steps % self.every == 0:
            self.move(run_of(pl_module, type(self).__name__).reference.followed(), self._steps)

    def state_dict(self) -> dict[str, Any]:
        """Return the settings, the steps so far, and what is kept beside the reference."""
        kept = {kind: on_rank_zero(tensors) for kind, tensors in self._kept.items()}
        return {"settings": self._settings(), "steps": self._steps, "kept": kept}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to train on with other settings than the checkpoint's, or say them where they are to be applied."""
        if is_fitting(trainer):
            saved = checkpoint.get(CALLBACKS, {}).get(self.state_key, {}).get("settings", {})
            found = differences(type(self).__name__, saved, self._settings())
            refuse_or_tell(found, run_of(pl_module, type(self).__name__).resume)

    def _settings(self) -> dict[str, Any]:
        """Return the arguments, which are plain; those of a subclass's too."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_") and is_plain(value)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the steps and the kept tensors."""
        self._steps, self._kept = state_dict["steps"], state_dict["kept"]


class TrustRegionReference(MovingReference):
    r"""TR-DPO (arXiv:2404.09656): from time to time the reference becomes the policy, or a mixture with it.

    .. math::
        \pi_\text{ref} \leftarrow \alpha \pi_\theta + (1-\alpha) \pi_\text{ref}

    on the weights, after every τ steps. For any objective with a
    reference. The policy may go farther from where it began than a loss against a fixed reference lets it.

    Args:
        alpha: Share of the policy, in (0, 1]; 1 is the hard update. The default is TRL's.
        every: τ, steps from one update to the next. The default is TRL's.

    Example:
        >>> import torch
        >>> from lightning.pytorch import Trainer
        >>> from dpo_lightning.callbacks import TrustRegionReference
        >>> from dpo_lightning.reference import Followed
        >>> mover = TrustRegionReference(alpha=0.6, every=512)
        >>> trainer = Trainer(max_steps=2000, logger=False, callbacks=[mover])
        >>> weights = {"head": Followed(reference=torch.zeros(2), policy=torch.ones(2))}
        >>> mover.move(weights, step=512)
        >>> weights["head"].reference
        tensor([0.6000, 0.6000])
    """

    def __init__(self, alpha: float = 0.6, every: int = 512) -> None:
        super().__init__(every)
        Rule("in (0, 1]", lambda value: 0 < value <= 1).check("TrustRegionReference.alpha", alpha)
        self.alpha = alpha

    def keep(self, weights: Weights) -> dict[str, dict[str, Tensor]]:
        """Return the averages in float32; a hard update needs none."""
        return {} if self.alpha == 1 else {_AVERAGES: _wide_references(weights)}

    def move(self, weights: Weights, step: int) -> None:
        """Mix the share `alpha` of the policy into the reference."""
        _mix(weights, self._kept.get(_AVERAGES, {}), self.alpha)


class EMAReference(MovingReference):
    r"""The reference is an exponential moving average of the policy.

    .. math::
        \theta_\text{ref} \leftarrow d \, \theta_\text{ref} + (1-d) \, \theta

    after every step: it trails the policy by about `1 / (1-d)` steps.

    Args:
        decay: `d`, in (0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__(every=1)
        Rule("in (0, 1)", lambda value: 0 < value < 1).check("EMAReference.decay", decay)
        self.decay = decay

    def keep(self, weights: Weights) -> dict[str, dict[str, Tensor]]:
        """Return the averages in float32."""
        return {_AVERAGES: _wide_references(weights)}

    def move(self, weights: Weights, step: int) -> None:
        """Move the average by `1 - decay` towards the policy."""
        _mix(weights, self._kept[_AVERAGES], 1 - self.decay)


class BEMAReference(MovingReference):
    r"""The reference is the bias-corrected moving average of the policy, arXiv:2508.00180, algorithm 1.

    .. math::
        \mu_t &= (1-\beta_t) \mu + \beta_t \theta_t, \qquad \beta_t = (\rho + \gamma t)^{-\kappa} \\
        \theta_\text{ref} &= \mu_t + \alpha_t (\theta_t - \theta_0), \qquad \alpha_t = (\rho + \gamma t)^{-\eta}

    after every φ steps, where t counts steps, and μ and θ with index 0 are the policy
    before the first. It is as smooth as an average and does not trail as far behind. It costs, on the device, two more
    copies of the trained weights.

    Args:
        every: φ, in optimizer steps.
        ema_power: κ; 0 leaves the averaging out.
        bias_power: η; the larger, the sooner the correction fades.
        multiplier: γ.
        lag: ρ.
    """

    def __init__(
        self,
        every: int = 400,
        ema_power: float = 0.5,
        bias_power: float = 0.2,
        multiplier: float = 1.0,
        lag: float = 10.0,
    ) -> None:
        super().__init__(every)
        settings = {"ema_power": ema_power, "bias_power": bias_power, "multiplier": multiplier, "lag": lag}
        for name, value in settings.items():
            NOT_NEGATIVE.check(f"BEMAReference.{name}", value)
        if lag + multiplier * every < 1:
            raise InputError(
                f"BEMAReference: lag + multiplier * every must be at least 1, got {lag}, {multiplier} and every={every}"
            )
        self.ema_power = ema_power
        self.bias_power = bias_power
        self.multiplier = multiplier
        self.lag = lag

    def keep(self, weights: Weights) -> dict[str, dict[str, Tensor]]:
        """Return the policy, as the first average and as it was."""
        policy = {name: pair.policy.detach() for name, pair in weights.items()}
        return {
            _AVERAGES: {name: value.to(_wide(value), copy=True) for name, value in policy.items()},
            _STARTS: {name: value.clone() for name, value in policy.items()},
        }

    def move(self, weights: Weights, step: int) -> None:
        """Move the average towards the policy, and correct its bias."""
        age = self.lag + self.multiplier * step
        for name, (reference, policy) in weights.items():
            average, start = self._kept[_AVERAGES][name], self._kept[_STARTS][name]
            now = policy.to(average.dtype)
            average.lerp_(now, age**-self.ema_power)
            reference.copy_(average + (now - start) * age**-self.bias_power)


_AVERAGES, _STARTS = "averages", "starts"


def _mix(weights: Weights, averages: Mapping[str, Tensor], share: float) -> None:
    """Move each average by a share towards the policy, and the reference to it; some averages are the reference."""
    for name, (reference, policy) in weights.items():
        average = averages.get(name, reference)
        average.lerp_(policy.to(average.dtype), share)
        reference.copy_(average)


def _wide_references(weights: Weights) -> dict[str, Tensor]:
    """Return float32 copies of the reference's weights that have a narrower dtype."""
    references = {name: pair.reference for name, pair in weights.items()}
    return {name: value.to(_wide(value)) for name, value in references.items() if _wide(value) != value.dtype}


def _wide(value: Tensor) -> torch.dtype:
    return torch.promote_types(value.dtype, torch.float32)


def _callbacks(trainer: pl.Trainer) -> list[pl.Callback]:
    return cast(Any, trainer).callbacks
