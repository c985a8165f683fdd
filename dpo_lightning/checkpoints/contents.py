"""The contents of a checkpoint: one table of keys, who writes and who reads each, and since which format version.

Our keys are the constants here and stand nowhere else. Lightning's are listed as far as a run relies on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from dpo_lightning.errors import InputError
from dpo_lightning.utils.version import __version__

FORMAT_VERSION = 2
"""The format that is written. 1 does not say which base and reference a checkpoint belongs to. 0 is that of checkpoints
without the key `dpo_lightning`; they name schedules as `dpo_lightning.schedules.X`, and hold the means of both
completions for SFT."""

FORMAT = "dpo_lightning"
MODEL_CONFIG = "model_config"
MOVED_REFERENCE = "moved_reference"
REFERENCE_MOVER = "reference_mover"
GIVEN_REFERENCE = "given_reference"
RUNNING_MEAN = "running_mean"
NOT_HELD = "not_held"
WHOLE = "whole_arguments"
IDENTITY = "identity"
OPTIMIZERS = "optimizers"

STATE_DICT = "state_dict"
LOOPS = "loops"
CALLBACKS = "callbacks"
OPTIMIZER_STATES = "optimizer_states"
LR_SCHEDULERS = "lr_schedulers"
HYPER_PARAMETERS = "hyper_parameters"

ALWAYS = "always"


class Entry(NamedTuple):
    """A key of a checkpoint.

    Attributes:
        key: The key; keys inside it follow after slashes, and a class in angle brackets stands for its name.
        holds: What its value is.
        writer: Who puts it there.
        reader: Who takes it from there.
        since: The format version that brought it.
        when: In which checkpoints it is.
    """

    key: str
    holds: str
    writer: str
    reader: str
    since: int = 0
    when: str = ALWAYS


_LIGHTNING = "Lightning"
_MODULE = "`PreferenceModule`"
_EXACT = "`ExactResume`"
_THERE = "the run has that callback"


def _state(callback: str, when: str = ALWAYS, since: int = 0, **held: str) -> Iterator[Entry]:
    """Yield a callback's state, which it alone writes and reads."""
    for name, holds in held.items():
        yield Entry(f"{CALLBACKS}/<{callback}>/{name}", holds, f"`{callback}`", f"`{callback}`", since, when)


CONTENTS = (
    Entry(FORMAT, "`format`, this table's version, and `version`, the package's", _MODULE, "every load", since=1),
    Entry(STATE_DICT, "the trainable parameters, by name", _MODULE, _MODULE),
    Entry(
        MODEL_CONFIG,
        "the model's config, as JSON",
        _MODULE,
        "`load_from_checkpoint` where the policy's directory is not there",
        when="the policy has a config and no adapter",
    ),
    Entry(MOVED_REFERENCE, "the reference's weights, by name", _MODULE, _MODULE, when="a callback moves the reference"),
    Entry(REFERENCE_MOVER, "the class of that callback", _MODULE, _MODULE, when="a callback moves the reference"),
    Entry(
        GIVEN_REFERENCE,
        "true: the reference was a module in memory, which nobody else has",
        _MODULE,
        _MODULE,
        since=1,
        when="the reference was given as a module",
    ),
    Entry(
        RUNNING_MEAN,
        "`of`, the objective's class, and `state`, its running mean",
        _MODULE,
        _MODULE,
        when="the objective reads a baseline",
    ),
    Entry(
        NOT_HELD,
        "the module's arguments that have no plain form, by name, with the class of each",
        _MODULE,
        "`load_from_checkpoint`, which asks for them",
        since=1,
        when="one is a function, a module, or an objective that is no dataclass",
    ),
    Entry(
        WHOLE,
        "the module's arguments that are more than their plain form says, by name, with the kind of each value",
        _MODULE,
        "`load_from_checkpoint`",
        since=2,
        when="one is an enum, a tuple without an annotation, a date, a tensor or the like",
    ),
    Entry(
        IDENTITY,
        "`policy` and `reference` before training: samples of their weights, settings of model, adapters, quantization",
        _MODULE,
        "every load, which refuses another base or reference",
        since=2,
    ),
    Entry(
        OPTIMIZERS,
        "of each optimizer and its schedule the class, and the settings at the start of the fit",
        "`ResumedSettings`",
        "`ResumedSettings`",
        since=2,
    ),
    Entry(HYPER_PARAMETERS, "the module's arguments, as plain types", _LIGHTNING, "`load_from_checkpoint`"),
    Entry("hparams_name", "the name of the argument that took them", _LIGHTNING, "`load_from_checkpoint`"),
    Entry(OPTIMIZER_STATES, "a state dict for each optimizer", _LIGHTNING, _LIGHTNING),
    Entry(LR_SCHEDULERS, "a state dict for each schedule", _LIGHTNING, _LIGHTNING),
    Entry(LOOPS, "counters of the loops", _LIGHTNING, _LIGHTNING),
    Entry(f"{LOOPS}/fit_loop", "those of the last optimizer step's end", _EXACT, _LIGHTNING),
    Entry(CALLBACKS, "the state of each callback that has one, by its class and settings", _LIGHTNING, _LIGHTNING),
    Entry(f"{CALLBACKS}/<ExactResume>/moment", "what of the step is done", _EXACT, _EXACT),
    Entry(f"{CALLBACKS}/<ExactResume>/plateaus_due", "whether the schedule's step is still to come", _EXACT, _EXACT),
    Entry(f"{CALLBACKS}/<ExactResume>/seed", "that of `seed_everything`; null without one", _EXACT, _EXACT, since=2),
    Entry(f"{CALLBACKS}/<ExactResume>/ranks", "a list with the entries below for each rank", _EXACT, _EXACT),
    Entry(f"{CALLBACKS}/<ExactResume>/ranks/random", "generators of Python, numpy, torch and CUDA", _EXACT, _EXACT),
    Entry(f"{CALLBACKS}/<ExactResume>/ranks/metrics", "sums of each metric since the last log", _EXACT, _EXACT),
    Entry(f"{CALLBACKS}/<ExactResume>/ranks/logged", "sums of each value that was logged in the epoch", _EXACT, _EXACT),
    Entry(f"{CALLBACKS}/<ExactResume>/ranks/reported", "the values of the last validation", _EXACT, _EXACT),
    *_state("ResumableCheckpoint", _THERE, kept="names of the checkpoints that the run keeps"),
    *_state(
        "UpdateGuard",
        skipped="number of steps that were not made",
        scaler_skipped="number of those that a gradient scaler left out",
        in_a_row="number of the last ones",
        norms="last norms of the gradient",
        stopped="what the run stopped at after that step was left out, or None",
    ),
    *_state(
        "PrunedWeights",
        "the run has a `ModelPruning`",
        masks="where a weight is pruned, by name",
        hidden="weights that the masks hide, by name",
    ),
    *_state(
        "MovingReference",
        "a callback moves the reference",
        settings="those of the callback",
        steps="optimizer steps that were made",
        kept="weights that it keeps beside the reference, by name",
    ),
    *_state(
        "HealthHints",
        since=2,
        given="rows of `hints.jsonl`: the hints that were given",
        seen="examples that were trained on",
        start_loss="loss of a policy that is its reference",
        curves="points of the values that hints read",
    ),
    *_state(
        "KeepRecord",
        _THERE,
        since=2,
        history="points of all curves, packed",
        began="when the run began, in ISO 8601",
        seconds="seconds of training so far",
        resumed="of each resume the checkpoint, its step and the time",
        directory="the run's directory",
    ),
    *_state(
        "SampleTable",
        _THERE,
        before="texts of the policy before training",
        reference="texts of a reference that stays as it is",
        settings="how they were sampled, with the prompts",
        file="that of their rows",
    ),
    Entry(
        "<PreferenceDataModule>",
        "`batches_done` of `batches` in the epoch, and what decides on their order",
        "the DataModule; `batches_done` is that of the step's end, by `ExactResume`",
        "the DataModule",
        when="the run has a DataModule with a state",
    ),
    Entry("epoch", "the epoch, from 0", _LIGHTNING, "nobody"),
    Entry("global_step", "the optimizer step, from 1", _LIGHTNING, "nobody"),
    Entry("pytorch-lightning_version", "Lightning's version", _LIGHTNING, "Lightning's own migration"),
)


def markdown_table(entries: Iterable[Entry] = CONTENTS) -> str:
    """Return the entries as a Markdown table, one line each."""
    lines = ["| key | holds | written by | read by | when | format |", "|---|---|---|---|---|--:|"]
    for entry in entries:
        key = entry.key.replace("/", " / ")
        lines.append(f"| `{key}` | {entry.holds} | {entry.writer} | {entry.reader} | {entry.when} | {entry.since} |")
    return "\n".join(lines) + "\n"


def mark_format(checkpoint: dict[str, Any]) -> None:
    """Say in a checkpoint which format it has, and which version of the package wrote it."""
    checkpoint[FORMAT] = {"format": FORMAT_VERSION, "version": __version__}


_KINDS: dict[str, tuple[type, str]] = {
    **dict.fromkeys((STATE_DICT, LOOPS, CALLBACKS, HYPER_PARAMETERS, NOT_HELD, MODEL_CONFIG), (Mapping, "a mapping")),
    WHOLE: (Mapping, "a mapping"),
    **dict.fromkeys((OPTIMIZER_STATES, LR_SCHEDULERS, OPTIMIZERS), (list, "a list")),
    "pytorch-lightning_version": (str, "a text"),
}


def _refuse_misshapen(checkpoint: Mapping[str, Any], place: str) -> None:
    """Refuse a checkpoint whose keys hold something else than they are read as."""
    for key, (kind, words) in _KINDS.items():
        if key in checkpoint and not isinstance(checkpoint[key], kind):
            found = type(checkpoint[key]).__name__
            raise InputError(f"{place}: its key {key} holds {found} in the place of {words}: take another checkpoint")


def refuse_newer(checkpoint: Any, name: str = "") -> None:
    """Refuse a checkpoint of a format that this version does not know, or with values that its keys do not have.

    One without a format is of format 0.

    Args:
        checkpoint: What a file holds, in plain types.
        name: What an error calls it.

    Raises:
        InputError: naming the file, its format, and the version that wrote it; or the key.
    """
    mark = checkpoint.get(FORMAT, {"format": 0}) if isinstance(checkpoint, Mapping) else {"format": 0}
    found = mark.get("format") if isinstance(mark, Mapping) else None
    place = f"checkpoint {name}".rstrip()
    if not isinstance(found, int):
        raise InputError(f"{place}: its key {FORMAT!r} says no format: it is none of this package's checkpoints")
    if found > FORMAT_VERSION:
        raise InputError(
            f"{place} has format {found}, written by dpo_lightning {mark.get('version')}, and {__version__} reads "
            f"formats up to {FORMAT_VERSION}: install dpo_lightning {mark.get('version')} or newer"
        )
    if isinstance(checkpoint, Mapping):
        _refuse_misshapen(checkpoint, place)


def refuse_incomplete(checkpoint: Mapping[str, Any]) -> None:
    """Refuse to train on from a checkpoint without the counters of its run.

    Raises:
        InputError: naming the keys.
    """
    if missing := [key for key in (LOOPS, CALLBACKS) if key not in checkpoint]:
        raise InputError(f"the checkpoint has no {' and no '.join(missing)}: give one that a Trainer has saved")
