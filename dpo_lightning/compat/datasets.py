"""The cache and the feature types of `datasets`."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset


def fingerprint(rows: Dataset) -> str:
    """Return the hash that stands for the rows in the cache.

    Touches `Dataset._fingerprint`: `map` takes a `new_fingerprint`, which must follow from the old one, and nothing
    public tells it. Where it changes, tokenising fails at the start.
    """
    return rows._fingerprint


def chosen_rows(rows: Dataset) -> np.ndarray | None:
    """Return which rows of its table a dataset holds, in their order; None for all of them.

    Touches `Dataset._indices`, which `select`, `shuffle` and `train_test_split` set: nothing public tells them.
    Where it changes, an epoch's plan fails at the start.
    """
    return None if rows._indices is None else rows._indices.column(0).to_numpy().astype("int64")


@dataclass
class JsonText:
    """A column of any values, each kept as its JSON text, which Arrow cannot round; read, it is the value again.

    `datasets.Json` is one, too, and loses the last digits of numbers, since it decodes by a faster parser.
    """

    decode: bool = True
    id: str | None = field(default=None, repr=False)
    _type: str = field(default="JsonText", init=False, repr=False)

    def __call__(self) -> Any:
        """Return the type of the column in Arrow."""
        import pyarrow as pa

        return pa.string()

    def encode_example(self, value: Any) -> str | None:
        """Return the JSON text of a value."""
        return None if value is None else json.dumps(value)

    def decode_example(self, text: str | None, token_per_repo_id: Any = None) -> Any:
        """Return the value of a JSON text."""
        return None if text is None else json.loads(text)


@cache
def json_text() -> JsonText:
    """Return the feature of a column of JSON text; Arrow files with it can be opened from then on."""
    from datasets.features.features import register_feature

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls itself experimental
        register_feature(JsonText, JsonText.__name__)
    return JsonText()


def let_bars_go() -> None:
    """Take bars of tokenised rows away when they are full, and show none where there is no terminal.

    Touches `datasets.arrow_dataset.hf_tqdm`, the class of the bar that `map` draws, of which nothing public says that
    it should not stay. Where it changes, bars stay as they are. Those of downloads stay.
    """
    from datasets import arrow_dataset

    plain = getattr(arrow_dataset, "hf_tqdm", None)
    if plain is None or getattr(plain, "goes", False):
        return

    class Going(plain):  # type: ignore[misc, valid-type]
        goes = True

        def __init__(self, *args: Any, **settings: Any) -> None:
            hidden = settings.get("disable") or not sys.stderr.isatty()
            super().__init__(*args, **{**settings, "leave": False, "disable": hidden})

    arrow_dataset.hf_tqdm = Going
