"""A tokenizer with the interface of mistral-common's: no Jinja template, no list of added tokens, no backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.helpers.tiny import tiny_tokenizer

BOS, EOS, INST, END_INST = 1, 2, 70, 71


class WritesTokens:
    """Writes conversations as tokens, and reads no control token in a text.

    As with mistral-common in its mode `test`: a dialogue ends with the user, or goes on with its last message.
    """

    eos_token_id, bos_token_id = EOS, BOS
    all_special_ids, all_special_tokens = [BOS, EOS, INST, END_INST], ["<s>", "</s>", "[INST]", "[/INST]"]
    special_tokens_map, init_kwargs = {"eos_token": "</s>"}, {"mode": "test"}
    name_or_path, chat_template = "", None

    def __init__(self) -> None:
        self._letters = tiny_tokenizer(additional_special_tokens=[], eos_token=None, bos_token=None)

    def added_tokens_decoder(self) -> None:
        """A method, as there, where others have a property."""
        raise NotImplementedError

    def get_chat_template(self, *given: Any, **named: Any) -> str:
        raise NotImplementedError

    def get_vocab(self) -> dict[str, int]:
        return {**self._letters.get_vocab(), "[INST]": INST, "[/INST]": END_INST}

    def _ids(self, text: str) -> list[int]:
        return [self._letters.get_vocab().get(letter, 0) for letter in text]

    def __call__(self, text: str | Sequence[str], add_special_tokens: bool = True, **_: Any) -> dict[str, Any]:
        if isinstance(text, str):
            return {"input_ids": [BOS] * add_special_tokens + self._ids(text)}
        if not text:
            raise ValueError("You should supply an encoding or a list of encodings")
        return {"input_ids": [[BOS] * add_special_tokens + self._ids(each) for each in text]}

    def decode(self, ids: Sequence[int]) -> str:
        names = {token: name for name, token in self.get_vocab().items()}
        return "".join(names[token] for token in ids)

    def apply_chat_template(
        self,
        conversation: list[dict[str, Any]],
        tools: Any = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        return_dict: bool = True,
    ) -> list[int]:
        assert tokenize, "unsafe, as there"
        assert not return_dict
        ends_with = conversation[-1]["role"]
        if (ends_with == "assistant") != continue_final_message:
            raise ValueError(f"Expected last role User or Tool for serving but got {ends_with}")
        ids = [BOS]
        for number, message in enumerate(conversation):
            said = self._ids(message["content"])
            if message["role"] == "assistant":
                ids += said if number == len(conversation) - 1 else [*said, EOS]
            else:
                ids += [INST, *said, END_INST]
        return ids
