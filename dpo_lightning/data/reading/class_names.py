"""Columns of classes as the names of their classes: a number of one says nothing by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset


def with_class_names(rows: Dataset) -> Dataset:
    """Return the rows with the names of classes in place of their numbers; those without classes as they are.

    Args:
        rows: Rows with columns of any kind; a `ClassLabel` becomes text.
    """
    from datasets import ClassLabel, Features, Value

    classes = {name: kind for name, kind in rows.features.items() if isinstance(kind, ClassLabel) and kind.names}
    if not classes:
        return rows
    named = Features({**rows.features, **dict.fromkeys(classes, Value("string"))})

    def name(columns: dict[str, list[int | None]]) -> dict[str, list[str | None]]:
        return {
            column: [None if number is None or number < 0 else kind.names[number] for number in columns[column]]
            for column, kind in classes.items()
        }

    return rows.map(name, batched=True, features=named, desc="naming classes")
