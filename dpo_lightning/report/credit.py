"""Rewards token by token as a page: each token in the colour of its credit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dpo_lightning.errors import InputError
from dpo_lightning.report.markup import document, of_data, plain
from dpo_lightning.utils.files import replaced

_NEEDED = ("pair_id", "completion", "reward", "tokens", "credit")
_RAISES, _LOWERS = "38, 139, 210", "220, 80, 60"


def credit_page(rewards: str | Path, out: str | Path, rows: int = 100) -> Path:
    """Write a page with the completions of a file of rewards, and return its path.

    A token that raises the reward is blue, one that lowers it is red, the more the fuller; the fullest colour has the
    token with the most credit of its completion. The number is there when the pointer rests on a token.

    Args:
        rewards: Parquet file that `WriteRewards` has written with `tokens`.
        out: The page, HTML in one file.
        rows: Most completions that are shown, the first ones.

    Raises:
        InputError: for a file that cannot be read, and one without tokens.
    """
    path = Path(out)
    shown = _rows(Path(rewards), rows)
    with replaced(path) as temporary:
        temporary.write_text(document("Credit of tokens", [*_parts(shown)]), encoding="utf-8")
    return path


def _rows(file: Path, most: int) -> list[Mapping[str, Any]]:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(file) as source:
            lacking = [name for name in _NEEDED if name not in source.schema_arrow.names]
            if lacking:
                raise InputError(
                    f"credit_page: {file} has no column {lacking[0]}: write it with WriteRewards(tokens=True), from a "
                    "DataModule"
                )
            batch = next(source.iter_batches(most), None)
            return [] if batch is None else batch.to_pylist()
    except (OSError, ArrowException) as error:
        raise InputError(f"credit_page: {file} cannot be read: {error}") from None


def _parts(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "<p>Blue tokens raise the reward of a completion, red ones lower it.</p>"
    for row in rows:
        title = f"row {row['pair_id']}, completion {row['completion']}: reward {row['reward']:.4g}"
        yield f"<h3>{plain(title)}</h3><pre>{''.join(_tokens(row))}</pre>"


def _tokens(row: Mapping[str, Any]) -> Iterator[str]:
    most = max((abs(each) for each in row["credit"]), default=0.0) or 1.0
    for token, credit in zip(row["tokens"], row["credit"], strict=True):
        colour = f"rgba({_RAISES if credit > 0 else _LOWERS}, {0.6 * abs(credit) / most:.2f})"
        yield f'<span title="{credit:+.4g}" style="background: {colour}">{of_data(token)}</span>'
