"""Special tokens of a tokenizer, and whether it writes conversations by a template or by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import AddedToken, PreTrainedTokenizerBase


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> Mapping[int, str]:
    """Return the special tokens by id: those that have a name, and those that only the vocabulary marks.

    A tokenizer without a list of added tokens, as mistral-common's, says itself which are special.
    """
    named = dict(zip(tokenizer.all_special_ids, map(str, tokenizer.all_special_tokens), strict=True))
    added = {token: str(entry) for token, entry in added_tokens(tokenizer).items() if entry.special}
    return named | added


def added_tokens(tokenizer: PreTrainedTokenizerBase) -> Mapping[int, AddedToken]:
    """Return the added tokens by id; none where the tokenizer has no list of them, as mistral-common's."""
    found = tokenizer.added_tokens_decoder
    return found if isinstance(found, Mapping) else {}


def writes_tokens(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a tokenizer writes conversations as tokens, without a Jinja template, as mistral-common's does.

    No text spells a control token of such a one.
    """
    try:
        tokenizer.get_chat_template()
    except NotImplementedError:
        return True
    except Exception:  # none is set, or none of several is the one
        return False
    return False
