"""Everything that a training step does beside its loss: metrics, running means, logging, parameters, schedules."""

from dpo_lightning.training.baseline import RunningMean
from dpo_lightning.training.list_metrics import Means
from dpo_lightning.training.makers import check_makers, optimization
from dpo_lightning.training.metrics import ChosenMean, PairMean, UnpairedMean
from dpo_lightning.training.parameters import decay_groups
from dpo_lightning.training.rate import TunedRate
from dpo_lightning.training.schedules import Constant, Cosine, Linear, Schedule
from dpo_lightning.training.transformers_schedule import TransformersSchedule

__all__ = [
    "ChosenMean",
    "Constant",
    "Cosine",
    "Linear",
    "Means",
    "PairMean",
    "RunningMean",
    "Schedule",
    "TransformersSchedule",
    "TunedRate",
    "UnpairedMean",
    "check_makers",
    "decay_groups",
    "optimization",
]
