"""The data of a config of TRL: one set, a mixture, and the two spellings of mixtures in the alignment handbook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.fields import Field, Kind, by_name
from dpo_lightning.cli.ways_over.running import validates
from dpo_lightning.cli.ways_over.tree import From, Tree
from dpo_lightning.cli.ways_over.trl.fields import OF_A_SET
from dpo_lightning.errors import InputError

_HANDBOOK = {"id": "path", "config": "name"}
_WEIGHT = Field("weight", Kind.NUMBER, said="the first rows, as many as this share of the set has")
_FIELDS = by_name(OF_A_SET, [_WEIGHT])
_OF_A_MIXTURE = ("datasets", "test_split_size", "seed")
_PACKED = ("json", "csv", "parquet", "arrow")
_SHARES = "first rows there; every row in turn here, in the same shares, and as many rows as all sets have"
_FIRST = "a number of rows, drawn at random there, is the first ones of a split here"


class Set(NamedTuple):
    """A set of data.

    Attributes:
        dataset: What `data.dataset` takes.
        options: What `load_dataset` is given beside.
        split: Its split, or a slice of one.
        fraction: Its share of the mixture; None for all its rows.
    """

    dataset: Any
    options: Mapping[str, Any]
    split: str
    fraction: float | None = None

    @property
    def place(self) -> tuple[str, str]:
        """Two sets of one place are splits of the same data."""
        return str(self.dataset), str(self.options)


def data(draft: Draft) -> None:
    """Write what is read, and what is held out of it."""
    given = draft.given
    if given["datasets"]:
        found, size = _mixture(draft)
        if given.asks("dataset_name"):
            draft.nothing_there("dataset_name", "datasets comes before it")
        if found:
            _write(draft, found, size)
    elif given["dataset_name"] is None:
        draft.refuse("dataset_name", "a run needs data: name it, or give datasets")
    else:
        _of_script(draft)
    if given["dataset_streaming"] or given["streaming"]:
        name = "streaming" if given["streaming"] else "dataset_streaming"
        draft.put("data.streaming", given.of(name))
    if validates(draft):
        draft.take("data.eval_batch_pairs", "per_device_eval_batch_size")


def _of_script(draft: Draft) -> None:
    given = draft.given
    draft.take("data.dataset", "dataset_name")
    if given["dataset_config"] is not None:
        draft.put("data.load_options", {"name": given.of("dataset_config")})
    draft.take("data.train_split", "dataset_train_split")
    if validates(draft):
        draft.take("data.val_split", "dataset_test_split")
    for name in ("streaming", "test_split_size"):
        if given.asks(name):
            draft.nothing_there(name, "it is of a mixture, and there are no datasets")


def _mixture(draft: Draft) -> tuple[list[Set], float | None]:
    """Return the sets, and how much is held out: a share below 1, or a number of rows."""
    given = draft.given
    value: Any = given["datasets"]
    size: Any = given["test_split_size"]
    if given.name("datasets") == "dataset_mixer":
        return _mixer(draft, value), None
    if isinstance(value, Mapping):
        unknown = [name for name in value if name not in _OF_A_MIXTURE]
        if unknown:
            draft.refuse("datasets", f"not known in it: {', '.join(unknown)}")
        value, size = value.get("datasets"), value.get("test_split_size", size)
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        draft.refuse("datasets", "a list of sets, each a mapping with its path")
        return [], None
    if any(each.get("columns") for each in value):
        draft.nothing_here("datasets", "columns: formats know their columns")
    return [found for each in value if (found := _set(draft, each)) is not None], size


def _mixer(draft: Draft, shares: Any) -> list[Set]:
    """Read the handbook's older spelling: shares by name, and the splits of all of them."""
    given = draft.given
    splits = given["dataset_splits"] or ["train", "test"]
    training = next((split for split in splits if "train" in split), None)
    if not isinstance(shares, Mapping) or training is None:
        draft.refuse("datasets", "names with shares, and a split of dataset_splits that has train in its name")
        return []
    return [Set(name, {}, _first_rows(training, share)) for name, share in shares.items()]


def _first_rows(split: str, share: float) -> str:
    """Return a split, or the share of its first rows in whole hundredths, which slices have."""
    hundredths = round(100 * share, 6)
    if not 0 < hundredths <= 100 or hundredths % 1:
        raise InputError(f"datasets: a weight of {share:g}: write a share in whole hundredths, from 0.01 to 1")
    return split if hundredths == 100 else f"{split}[:{hundredths:.0f}%]"


def _set(draft: Draft, value: Mapping[str, Any]) -> Set | None:
    named = {_HANDBOOK.get(name, name): each for name, each in value.items() if each is not None}
    unknown = [name for name in named if name not in _FIELDS]
    if unknown or "path" not in named:
        said = f"not known in a set: {', '.join(unknown)}" if unknown else "a set without a path"
        draft.refuse("datasets", said)
        return None
    read = {name: _FIELDS[name].read(each, "datasets") for name, each in named.items()}
    options = {name: read[name] for name in ("name", "data_dir") if read.get(name, "default") != "default"}
    dataset, files = read["path"], read.get("data_files")
    if files is not None and dataset in _PACKED and not isinstance(files, Mapping):
        dataset = files  # a file is named by itself here
    elif files is not None:
        options["data_files"] = files
    return Set(dataset, options, _first_rows(read.get("split", "train"), read.get("weight", 1)), read.get("fraction"))


def _write(draft: Draft, found: Sequence[Set], size: float | None) -> None:
    """Write the sets: splits of the same data as one, others as sources."""
    given = draft.given
    splits = [each.split for each in found]
    one = len({each.place for each in found}) == 1 and not (len(found) > 1 and found[0].fraction)
    if size is not None:
        _hold_out(draft, size, splits if one else [])
    elif validates(draft):
        _hold_out_split(draft)
    why = given.because("datasets")
    if one:
        draft.put("data.dataset", From(found[0].dataset, why))
        draft.put("data.train_split", From("+".join(splits), why))
        if found[0].options:
            draft.put("data.load_options", {name: From(each, why) for name, each in found[0].options.items()})
    else:
        draft.put("data.sources", [_source(each, why) for each in found])
        if any(each.fraction is not None for each in found):
            draft.differs("datasets", f"fraction: {_SHARES}")


_NO_NUMBER = "test_split_size is a number of rows of several sets, or of a share: write a share below 1, as 0.03"


def _hold_out(draft: Draft, size: float, splits: list[str]) -> None:
    """Hold rows out; where nothing validates, they are held out all the same, as there.

    Args:
        draft: The config.
        size: A share below 1, or a number of rows: the first of a split, which `splits` then begins behind.
        splits: Splits of the data, where it is one.
    """
    given = draft.given
    name = "test_split_size" if given.says("test_split_size") else "datasets"
    held: float | str = float(size)
    if size >= 1:
        place = next((place for place, split in enumerate(splits) if "[" not in split), None)
        if place is None:
            draft.refuse(name, _NO_NUMBER)
            return
        draft.differs(name, _FIRST)
        held = f"{splits[place]}[:{int(size)}]"
        splits[place] = f"{splits[place]}[{int(size)}:]"
    draft.put("data.val_split", From(held, given.because(name)))
    if not validates(draft):
        draft.put("trainer.limit_val_batches", From(0, given.because("eval_strategy")))


def _hold_out_split(draft: Draft) -> None:
    testing = next((split for split in draft.given["dataset_splits"] or [] if "test" in split), None)
    if testing is None:
        draft.refuse("eval_strategy", "nothing is held out to validate on: give test_split_size")
    else:
        draft.put("data.val_split", draft.given.of("dataset_splits", lambda splits: testing))


def _source(each: Set, why: str) -> Tree:
    found: dict[str, Tree] = {"dataset": From(each.dataset, why), "split": From(each.split, why)}
    if each.fraction is not None:
        found["weight"] = From(float(each.fraction), f"fraction of {why}")
    if each.options:
        found["load_options"] = From(dict(each.options), why)
    return found


def rows(draft: Draft) -> None:
    """Write how long a row may be, and in which order rows come."""
    given = draft.given
    if given["max_length"] is None:
        draft.refuse("max_length", "no limit: write the most tokens that the model reads")
    else:
        draft.take("data.max_length", "max_length")
    if given["truncation_mode"] != "keep_start" and not given.says("max_prompt_length"):
        draft.refuse("truncation_mode", "completions keep their start: data.max_prompt_length keeps a prompt's end")
    order = given["train_sampling_strategy"]
    if order == "sequential":
        draft.refuse("train_sampling_strategy", "rows are shuffled by data.seed; data.order has other orders")
    draft.put("data.length_grouped", From(order == "group_by_length", given.because("train_sampling_strategy")))
    template = given["chat_template"]
    if template is not None and "{" in template:
        draft.refuse("chat_template", "write it to a file, and give its path")
    elif template is not None:
        draft.take("data.chat_template", "chat_template")
