"""Rows with a question and a text for the system, or an instruction and its input, beside two answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from dpo_lightning.data.formats.sharegpt import ShareGPTFormat


@dataclass(frozen=True)
class QuestionFormat(ShareGPTFormat):
    """Texts of a question and two answers, as Orca's pairs have them, written as messages.

    `system` names the column of the text for the system. With `as_messages: false` they are plain text, for a model
    without a chat template. Source: the columns of the Orca DPO pairs. The further settings are those of
    `ShareGPTFormat`.

    Example:
        >>> row = {"system": "Be short.", "question": "1 + 1?", "chosen": "2", "rejected": "3"}
        >>> read = QuestionFormat(system="system")
        >>> read.examples(row)[0].prompt, read.as_messages
        ('1 + 1?', True)
    """

    prompt: str = "question"
    as_messages: Optional[bool] = field(default=True, kw_only=True)


@dataclass(frozen=True)
class AlpacaFormat(QuestionFormat):
    r"""Texts of an instruction, its input and two answers, as LLaMA-Factory's `alpaca` ranking has them.

    The input, where there is one, is put on the lines below the instruction. The further settings are those of
    `QuestionFormat`.

    Example:
        >>> row = {"instruction": "Add.", "input": "1 + 1", "chosen": "2", "rejected": "3"}
        >>> AlpacaFormat(as_messages=False).examples(row)[0].prompt
        'Add.\n1 + 1'
    """

    prompt: str = "instruction"
    input: Optional[str] = "input"
