"""Control tokens are the chat template's to write: a text that spells one is only text.

A tokenizer reads `</s>` as its EOS wherever it stands, so a row could end its own prompt or open another's turn.
Here such a spelling is quoted while templates are filled in, and tokens come from a copy of the tokenizer in which
control tokens are spelled in a way that no text can.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dpo_lightning.data.special_tokens import added_tokens, writes_tokens
from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

# Noncharacters, which Unicode keeps for a program's own use: they stand in no text that is for others.
OPEN, CLOSE = "\ufdd0", "\ufdd1"
_UNUSABLE = re.compile(f"[\ud800-\udfff{OPEN}{CLOSE}]")


def check_text(text: str, place: str) -> str:
    """The text itself, when it can be tokenised.

    Raises:
        InputError: naming the place of a lone surrogate, which no encoding can hold, or of U+FDD0 and U+FDD1.
    """
    found = None if text.isascii() else _UNUSABLE.search(text)
    if found:
        kind = "a noncharacter" if found[0] in (OPEN, CLOSE) else "a lone surrogate"
        raise InputError(f"{place}: character {found.start()} is U+{ord(found[0]):04X}, {kind}: take it out")
    return text


def balanced(text: str) -> str:
    """Return the beginning of a quoted text without a quote that does not close."""
    return text if text.rfind(OPEN) <= text.rfind(CLOSE) else text[: text.rfind(OPEN)] + text[text.rfind(OPEN) + 1 :]


class ControlTokens:
    """The special tokens of a tokenizer, and how a text may speak about them.

    Args:
        tokenizer: A Hugging Face tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        added = {str(entry) for entry in added_tokens(tokenizer).values() if entry.special}
        names = set() if writes_tokens(tokenizer) else added | {*map(str, tokenizer.all_special_tokens)}
        self._names = sorted(filter(None, names), key=len, reverse=True)
        any_name = "|".join(map(re.escape, self._names)) or "(?!)"
        self._spelled = re.compile(any_name)
        self._quoted_or_live = re.compile(f"{OPEN}(.+?){CLOSE}|{any_name}", re.DOTALL)

    def quote(self, text: str) -> str:
        """Mark every control token that the text spells, so that `encode` takes it for text.

        Raises:
            InputError: where there is one and the tokenizer is no fast one, which has no way to do so.
        """
        quoted = self._spelled.sub(f"{OPEN}\\g<0>{CLOSE}", text)
        if quoted != text and self._copy is None:
            raise InputError(f"the text spells {self._spelled.findall(text)[0]!r}, a control token of this tokenizer")
        return quoted

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids: of what is quoted as plain text, of control tokens outside quotes as what they are."""
        if not texts:
            return []
        if self._copy is None:
            # Not verbose: the warning about the tokenizer's own limit would come before anything is truncated.
            return self._tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)[
                "input_ids"
            ]
        spelled = [self._quoted_or_live.sub(_swap_quotes, text) for text in texts]
        return [encoding.ids for encoding in self._copy.encode_batch_fast(spelled, add_special_tokens=False)]

    def rules(self) -> dict[str, Any] | None:
        """The fast tokenizer's rules, as `tokenizers` saves them; None for a slow one."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        return None if backend is None else json.loads(backend.to_str())

    @cached_property
    def _copy(self) -> Tokenizer | None:
        """The fast tokenizer with its control tokens in quotes; ids are the same."""
        from tokenizers import Tokenizer

        rules = self.rules()
        if rules is None:
            return None
        rename = {name: f"{OPEN}{name}{CLOSE}" for name in self._names}
        for entry in rules["added_tokens"]:
            if entry["content"] in rename:
                # Found before the text is normalised: no other spelling becomes one by it.
                entry |= {"content": rename[entry["content"]], "normalized": False}
        _rename_in_model(rules["model"], rename)
        # Only what a tokenizer puts around a text, truncation and padding: nothing of it is asked for here.
        rules |= {"post_processor": None, "truncation": None, "padding": None}
        return Tokenizer.from_str(json.dumps(rules))


def _rename_in_model(model: dict[str, Any], rename: dict[str, str]) -> None:
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {rename.get(piece, piece): token for piece, token in vocabulary.items()}
    else:  # Unigram: pieces with their scores
        model["vocab"] = [[rename.get(piece, piece), score] for piece, score in vocabulary]
    if model.get("unk_token") is not None:
        model["unk_token"] = rename.get(model["unk_token"], model["unk_token"])


def _swap_quotes(found: re.Match[str]) -> str:
    return f"{OPEN}{found[0]}{CLOSE}" if found[1] is None else found[1]
