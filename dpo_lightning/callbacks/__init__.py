"""Side effects of a run, and the checks that every run gets."""

import lightning.pytorch as pl

from dpo_lightning.callbacks.checkpoint import DurableSaves, ResumableCheckpoint
from dpo_lightning.callbacks.exact_resume import ExactResume
from dpo_lightning.callbacks.export import Export
from dpo_lightning.callbacks.graceful_stop import GracefulStop
from dpo_lightning.callbacks.health_hints import HealthHints
from dpo_lightning.callbacks.measures import Measures
from dpo_lightning.callbacks.moving_reference import (
    BEMAReference,
    EMAReference,
    MovingReference,
    TrustRegionReference,
)
from dpo_lightning.callbacks.one_run_per_directory import OneRunPerDirectory
from dpo_lightning.callbacks.progress_line import ProgressLine
from dpo_lightning.callbacks.pruned_weights import PrunedWeights
from dpo_lightning.callbacks.record import KeepRecord
from dpo_lightning.callbacks.reference_cache import ReferenceCache
from dpo_lightning.callbacks.resumed_settings import ResumedSettings
from dpo_lightning.callbacks.rewards import WriteRewards
from dpo_lightning.callbacks.samples import SampleTable
from dpo_lightning.callbacks.start_notes import StartNotes
from dpo_lightning.callbacks.start_point import StartPoint
from dpo_lightning.callbacks.start_summary import StartSummary
from dpo_lightning.callbacks.step_zero import StepZeroCheck
from dpo_lightning.callbacks.update_guard import UpdateGuard
from dpo_lightning.callbacks.watched_metrics import WatchedMetrics

OF_EVERY_RUN: tuple[type[pl.Callback], ...] = (
    DurableSaves,
    UpdateGuard,
    ExactResume,
    PrunedWeights,
    GracefulStop,
    ResumedSettings,
    StartSummary,
    StartNotes,
    OneRunPerDirectory,
    WatchedMetrics,
    StartPoint,
    HealthHints,
    Measures,  # lets go of the batch, which the others read
)
"""Callbacks that make every run safe and say how it is; `PreferenceModule` adds them, in this order."""

__all__ = [
    "OF_EVERY_RUN",
    "BEMAReference",
    "DurableSaves",
    "EMAReference",
    "ExactResume",
    "Export",
    "GracefulStop",
    "HealthHints",
    "KeepRecord",
    "Measures",
    "MovingReference",
    "ProgressLine",
    "ReferenceCache",
    "ResumableCheckpoint",
    "ResumedSettings",
    "SampleTable",
    "StepZeroCheck",
    "TrustRegionReference",
    "UpdateGuard",
    "WriteRewards",
]
