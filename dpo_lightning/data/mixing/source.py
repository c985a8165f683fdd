"""Sources of a mix: what each is read from, and how much of an epoch it makes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from dpo_lightning.data.formats import Format
from dpo_lightning.data.formats.template_inputs import check_template_arguments
from dpo_lightning.data.formats.written import written_format
from dpo_lightning.data.reading.sources import describe
from dpo_lightning.errors import InputError
from dpo_lightning.utils.arguments import wrong_kind
from dpo_lightning.utils.kinds import annotations_of, check_kinds
from dpo_lightning.utils.set_names import check_set_names
from dpo_lightning.utils.settings import POSITIVE, at_least, check_rules
from dpo_lightning.utils.text import nearest, one_line


@dataclass(frozen=True)
class Source:
    """Rows of one place, where a run trains on several.

    Without `weight` and `rows`, each of its rows is in each epoch once. The sources that give a `weight` divide as many
    rows as they have together.

    Args:
        dataset: What `data.dataset` takes: a hub name, a file, a directory, a mapping from split to file, or rows in
            memory. It must be given.
        split: Split to train on, or a slice or a sum of splits.
        format: Columns and text templates; null takes `data.format`.
        weight: Its share of the rows of all sources with a weight, beside the weights of the others.
        rows: Instead, exactly so many rows in each epoch. More than it has are whole passes and a part, fewer are a
            part, which is another one in each epoch until all rows have been in one.
        chat_template_kwargs: Further arguments of the chat template for its rows, such as `enable_thinking`.
        name: Its name in metrics, messages and predictions; null takes that of the file, directory or data set.
        load_options: Further arguments of `datasets.load_dataset` for it.

    Example:
        >>> from dpo_lightning import PreferenceDataModule, Source
        >>> sources = [Source("helpful.jsonl", weight=3), Source("my/harmless", split="train[:5000]", weight=1)]
        >>> data = PreferenceDataModule(sources=sources, val_split=0.1)
        >>> [source.name for source in data.sources]  # nothing is read yet
        ['helpful', 'harmless']
    """

    dataset: Any = None
    split: str = "train"
    format: Optional[Format] = None
    weight: Optional[float] = None
    rows: Optional[int] = None
    chat_template_kwargs: Optional[dict[str, Any]] = None
    name: Optional[str] = None
    load_options: Optional[dict[str, Any]] = None

    @property
    def prefix(self) -> str:
        """The source as messages name it before a place of it; empty for one without a name."""
        return "" if self.name is None else f"source {self.name}: "

    def check(self, key: str) -> None:
        """Check the fields, before anything is read.

        Args:
            key: The source as a config names it, such as `data.sources[0]`.

        Raises:
            InputError: naming the key of the field.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        hints = annotations_of(Source)
        if self.dataset is None:
            raise InputError(f"{key}.dataset: give a hub name, a file, a directory or a `datasets.Dataset`")
        check_kinds(f"{key}.", hints, values)
        if self.format is not None and not isinstance(self.format, Format):
            raise wrong_kind(f"{key}.format", self.format, Format, "give RowFormat(...) or UnpairedFormat(...)")
        check_rules(f"{key}.", values, weight=POSITIVE, rows=at_least(1))
        check_template_arguments(self.chat_template_kwargs or {}, f"{key}.chat_template_kwargs")
        if self.weight is not None and self.rows is not None:
            raise InputError(f"{key}: give weight or rows, and not both: rows is a number, weight a share")
        if not self.split.strip():
            raise InputError(f"{key}.split must name a split, got {self.split!r}")


def checked_sources(given: object) -> tuple[Source, ...]:
    """Return the sources of a run, each with a name.

    Args:
        given: Sources, or mappings of their arguments; None for none.

    Raises:
        InputError: for an empty list, a key that a source does not have, a wrong value, and a name that stands twice.
    """
    if given is None:
        return ()
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise InputError(f"data.sources: give a list of sources, got {one_line(repr(given), 80)}")
    sources = [_made(each, f"data.sources[{number}]") for number, each in enumerate(given)]
    named = [
        dataclasses.replace(each, name=_name(each, number) if each.name is None else each.name)
        for number, each in enumerate(sources)
    ]
    for number, each in enumerate(named):
        check_set_names([each.name], f"data.sources[{number}].name")
    twice = [name for name, times in Counter(each.name for each in named).items() if times > 1]
    if twice:
        raise InputError(f"data.sources: two are called {twice[0]!r}: give each a `name` of its own")
    return tuple(named)


def _made(given: object, key: str) -> Source:
    if isinstance(given, Mapping):
        fields = [field.name for field in dataclasses.fields(Source)]
        unknown = next((name for name in given if name not in fields), None)
        if unknown is not None:
            close = nearest(str(unknown), fields)
            said = f"did you mean `{close}`?" if close else f"its keys are {', '.join(fields)}"
            raise InputError(f"unknown key `{key}.{unknown}`; {said}")
        given = Source(**given)
        if isinstance(given.format, str | Mapping):
            given = dataclasses.replace(given, format=written_format(given.format, f"{key}.format"))
    if not isinstance(given, Source):
        raise InputError(f"{key}: give Source(...), or a mapping of its arguments, not {one_line(repr(given), 80)}")
    given.check(key)
    return given


def _name(source: Source, number: int) -> str:
    """Return the last part of a path or of a hub name, without the endings of a file."""
    given = source.dataset
    if isinstance(given, Mapping) and len(given) == 1 and type(given) is dict:
        given = next(iter(given.values()))
    if not isinstance(given, str | Path):
        return f"source{number}"
    name = Path(str(given)).name
    stem = name.split(".")[0] if Path(str(given)).suffix else name
    return stem or describe(source.dataset).strip("/") or f"source{number}"


def check_alone(sources: Sequence[Source], **others: object) -> None:
    """Refuse the keys of a single source beside `data.sources`, and a run without either.

    Args:
        sources: The sources of the run.
        others: The keys of a single source by name, each null where it was not given.

    Raises:
        InputError: naming the key.
    """
    beside = next((name for name, value in others.items() if value is not None), None)
    if sources and beside is not None:
        raise InputError(f"data.sources and data.{beside}: each source says its own: leave data.{beside} out")
    if not sources and others["dataset"] is None:
        raise InputError("data.dataset: give a hub name, a file, a directory or a `datasets.Dataset`; or data.sources")
