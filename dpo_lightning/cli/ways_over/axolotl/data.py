"""The data of axolotl's configs: `datasets`, `test_datasets`, lengths and templates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpo_lightning.cli.ways_over.axolotl.fields import OF_DATASET_NAMES
from dpo_lightning.cli.ways_over.axolotl.templates import templates
from dpo_lightning.cli.ways_over.axolotl.types import Strategy, named, of_mapping
from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.tree import From, Tree, made

_BUILDERS = ("json", "csv", "parquet", "arrow", "text")
_LONG = "rows that are longer are left out there; here their completions lose their end"
_ENDINGS = {
    "json": (".json", ".jsonl", ".ndjson"),
    "csv": (".csv", ".tsv"),
    "parquet": (".parquet",),
    "arrow": (".arrow",),
}


def data(draft: Draft) -> None:
    """Write the data: one set as `data.dataset`, several as `data.sources`."""
    given = draft.given
    entries = given["datasets"] or []
    strategies = [strategy_of(draft, entry, f"datasets[{number}]") for number, entry in enumerate(entries)]
    for number, entry in enumerate(entries):
        _told_of(draft, entry, f"datasets[{number}]")
    if len(entries) == 1:
        for name, value in _source(draft, entries[0], strategies[0], "datasets[0]").items():
            draft.put(f"data.{'train_split' if name == 'split' else name}", value)
    elif entries:
        sources = zip(entries, strategies, strict=True)
        paths = [Path(str(entry["path"])).stem for entry in entries]
        draft.put(
            "data.sources",
            [
                {**_source(draft, *each, f"datasets[{number}]"), **_name_of(paths, number)}
                for number, each in enumerate(sources)
            ],
        )
    templates(draft, strategies)
    held_out(draft)
    _length(draft)
    if given["dataset_exact_deduplication"]:
        draft.put("data.clean", {"duplicates": From("exact", given.because("dataset_exact_deduplication"))})
    if given["dataset_num_proc"] is None and given["dataset_processes"] is not None:
        draft.take("data.num_proc", "dataset_processes")


def strategy_of(draft: Draft, entry: Mapping[str, Any], name: str) -> Strategy:
    """Return how the rows of a set are read; what cannot be is refused."""
    kind, rl = entry.get("type"), draft.given["rl"]
    if kind is None:
        return Strategy()
    found = named(rl, kind) if isinstance(kind, str) else of_mapping(rl, kind)
    if found.refused:
        draft.refuse(f"{name}.type", f"{kind if isinstance(kind, str) else 'a mapping'}: {found.refused}")
    elif found.said:
        draft.differs(f"{name}.type", f"{kind}: {found.said}")
    return found


def _told_of(draft: Draft, entry: Mapping[str, Any], name: str) -> None:
    """Do what the table of a set's fields says of each one."""
    for key, value in entry.items():
        each = OF_DATASET_NAMES[key]
        if not each.asks(value) or not each.said:
            continue
        if each.fate.name == "REFUSED":
            draft.refuse(f"{name}.{key}", each.said)
        else:
            draft.tell(each.fate, f"{name}.{key}", each.said)


def _source(draft: Draft, entry: Mapping[str, Any], strategy: Strategy, name: str) -> dict[str, Tree]:
    found: dict[str, Tree] = {"dataset": From(_dataset(draft, entry, name), f"{name}.path")}
    if entry.get("split") not in (None, "train"):
        found["split"] = From(entry["split"], f"{name}.split")
    options = {key: entry[key] for key in ("name", "revision") if entry.get(key) is not None}
    if _of_hub(entry) and entry.get("data_files"):
        options["data_files"] = entry["data_files"]
    if options:
        found["load_options"] = {key: From(value, f"{name}.{key}") for key, value in options.items()}
    settings = {**strategy.settings, **_fields(entry, strategy)}
    if strategy.format is not None:
        written = {key: From(value, "") for key, value in settings.items()}
        found["format"] = made(strategy.format, f"{name}.type", **written)
    return found


def _fields(entry: Mapping[str, Any], strategy: Strategy) -> dict[str, Any]:
    """Return the columns and roles that a set names, for the strategy of chat templates."""
    if not strategy.by_template:
        return {}
    columns = {"chosen": entry.get("field_chosen"), "rejected": entry.get("field_rejected")}
    if strategy.format == "ShareGPTFormat":
        columns["prompt"] = entry.get("field_messages") or "messages"
    found: dict[str, Any] = {key: value for key, value in columns.items() if value not in (None, key)}
    roles = {old: new for new, names in (entry.get("roles") or {}).items() for old in names if old != new}
    if roles and strategy.format == "ShareGPTFormat":
        found["roles"] = roles
    return found


def _name_of(paths: list[str], number: int) -> dict[str, Tree]:
    """Return a name for a set that has none of its own: two of one path."""
    twice = paths.count(paths[number]) > 1
    return {"name": From(f"{paths[number]}_{number}", "two sets have one path")} if twice else {}


def _of_hub(entry: Mapping[str, Any]) -> bool:
    return entry["path"] not in _BUILDERS


def _dataset(draft: Draft, entry: Mapping[str, Any], name: str) -> Any:
    if not _of_hub(entry):
        if not entry.get("data_files"):
            draft.refuse(f"{name}.path", f"{entry['path']} names a kind of files: give data_files")
        return entry.get("data_files")
    endings = _ENDINGS.get(entry.get("ds_type") or "", ())
    ending = Path(entry["path"]).suffix
    if endings and ending and Path(entry["path"]).is_file() and ending not in endings:
        draft.refuse(f"{name}.ds_type", f"{entry['path']} ends otherwise: rename the file to end in {endings[0]}")
    return entry["path"]


def held_out(draft: Draft) -> None:
    """Write what is validated on: a share, the first rows, or a set of its own."""
    given = draft.given
    size, tests = given["val_set_size"], given["test_datasets"]
    several = len(given["datasets"] or []) > 1
    if tests and size:
        draft.refuse("test_datasets", "val_set_size is given as well, and axolotl takes one of them")
    elif tests:
        _test_sets(draft, tests)
    elif size and size < 1:
        draft.take("data.val_split", "val_set_size")
    elif size and (several or draft.has("data.train_split")):
        draft.refuse("val_set_size", "a number of rows of several sets, or of a part: give a share below 1")
    elif size:
        draft.put("data.val_split", From(f"train[:{int(size)}]", given.because("val_set_size")))
        draft.put("data.train_split", From(f"train[{int(size)}:]", given.because("val_set_size")))


def _test_sets(draft: Draft, tests: list[Mapping[str, Any]]) -> None:
    trained = draft.given["datasets"] or [{}]
    found: dict[str, Tree] = {}
    for number, entry in enumerate(tests):
        name = f"test_datasets[{number}]"
        split, file = entry.get("split") or "train", entry.get("data_files") or entry["path"]
        if entry["path"] == trained[0].get("path") and not entry.get("data_files"):
            found[f"set{number}"] = From(split, name)
        elif isinstance(file, str) and Path(file).suffix:
            found[f"set{number}"] = From(file, name)
        else:
            draft.refuse(name, "validation is on a split of the same set, or on one file: write its rows to a file")
        if entry.get("type") != trained[0].get("type"):
            draft.refuse(f"{name}.type", "rows of validation are read as those of training: give them the same type")
    if found:
        draft.put("data.val_split", found if len(found) > 1 else next(iter(found.values())))


def _length(draft: Draft) -> None:
    given = draft.given
    draft.take("data.max_length", "sequence_len")
    strategy = given["excess_length_strategy"]
    if strategy == "raise":
        draft.refuse("excess_length_strategy", "no row ends a run here: `dpo-lightning inspect` counts the long ones")
    elif strategy != "truncate":
        draft.differs("excess_length_strategy" if strategy else "sequence_len", _LONG)
