"""Side effects of a run, and the checks that every run gets."""

from dpo_lightning.callbacks.export import Export
from dpo_lightning.callbacks.non_finite import NonFiniteStop
from dpo_lightning.callbacks.rewards import WriteRewards
from dpo_lightning.callbacks.samples import SampleTable
from dpo_lightning.callbacks.step_zero import StepZeroCheck

__all__ = ["Export", "NonFiniteStop", "SampleTable", "StepZeroCheck", "WriteRewards"]
