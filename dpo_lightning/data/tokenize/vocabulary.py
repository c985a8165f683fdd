"""Token ids that the model has no row for: refused before the rows are tokenised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dpo_lightning.data.special_tokens import special_tokens
from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

_NAMED = 3  # tokens that an error quotes


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a tokenizer beside the rows of a model's embedding.

    A model may have more rows than the tokenizer has tokens. A special token without a row may stand in the tokenizer,
    as an image's does in a model for text, as long as no row of the data gets it.

    Args:
        tokenizer: A Hugging Face tokenizer.
        size: Rows of the embedding; None where the model does not say, and then nothing is compared.
    """

    tokenizer: PreTrainedTokenizerBase
    size: int | None

    def check(self) -> None:
        """Check what any text may be made of, and the token that ends it.

        Raises:
            InputError: naming the tokens that have no row.
        """
        unused = special_tokens(self.tokenizer).keys() - {self.tokenizer.eos_token_id}
        self._refuse({token: name for token, name in self._beyond.items() if token not in unused}, "data.tokenizer")

    def check_ids(self, ids: Iterable[int], place: str) -> None:
        """Check the tokens of an example.

        Raises:
            InputError: naming `place` and the tokens that have no row.
        """
        if self._beyond:
            self._refuse({token: self._beyond[token] for token in {*ids} & self._beyond.keys()}, place)

    def check_rows(self, encoded: Dataset, place: str) -> None:
        """Check tokenised rows, which may come from a cache; they are read only where a token may have no row.

        Raises:
            InputError: naming `place` and the largest id.
        """
        if self._beyond:
            largest = max(_largest(encoded.data.column(name)) for name in ("prompt_ids", "completion_ids"))
            self.check_ids([largest], place)

    @cached_property
    def _beyond(self) -> Mapping[int, str]:
        if self.size is None:
            return {}
        return {token: name for name, token in self.tokenizer.get_vocab().items() if token >= self.size}

    def _refuse(self, missing: Mapping[int, str], place: str) -> None:
        if not missing:
            return
        named = ", ".join(f"{name!r} ({token})" for token, name in sorted(missing.items())[:_NAMED])
        raise InputError(
            f"{place}: {len(missing)} {'token has' if len(missing) == 1 else 'tokens have'} no row in the model, whose "
            f"embedding has {self.size}: {named}; name the model's own tokenizer, or resize the model "
            "(resize_token_embeddings) and save it"
        )


def _largest(column: Any) -> int:
    """Return the largest number in a column of numbers, or of lists of them; -1 where there is none."""
    import pyarrow as arrow
    from pyarrow import compute

    while arrow.types.is_list(column.type) or arrow.types.is_large_list(column.type):
        column = compute.list_flatten(column)
    largest: int | None = compute.max(column).as_py()
    return -1 if largest is None else largest
