"""Columns whose names say what they mean: rows that hold one are not read as if they had none."""

from __future__ import annotations

from typing import NamedTuple


class Meaning(NamedTuple):
    """The meaning of a column.

    Attributes:
        words: What it holds.
        remedy: What reads it.
    """

    words: str
    remedy: str


_SYSTEM = Meaning("the system prompt", "name it in data.format.system")
_TOOLS = Meaning("definitions of tools", "the chat template of messages writes those of a column `tools`")
_MEDIA = Meaning("what is no text, and only text is trained on", "take those rows out")
JUDGEMENT = Meaning("a judgement of the completions", "give a format that reads which of them is the better one")
_PROMPT = Meaning("a part of the prompt", "name it in data.format.prompt or in data.format.prompt_template")
_TURNS = Meaning("earlier turns of the prompt", "write them as messages of the prompt")
_TEMPLATE = Meaning("arguments of the chat template", "they are for rows of messages")
_REJECTED = Meaning("the rejected completion", "name it in data.format.rejected")

KNOWN = {
    **dict.fromkeys(("system", "system_prompt", "system_message"), _SYSTEM),
    **dict.fromkeys(("tools", "functions"), _TOOLS),
    **dict.fromkeys(("image", "images", "video", "videos", "audio", "audios"), _MEDIA),
    **dict.fromkeys(("label", "labels", "winner", "preference", "choice"), JUDGEMENT),
    **dict.fromkeys(("better_response_id", "safer_response_id"), JUDGEMENT),  # PKU-SafeRLHF
    **dict.fromkeys(("preference_strength", "overall_preference"), JUDGEMENT),  # HelpSteer2 and 3
    **dict.fromkeys(("input", "context"), _PROMPT),
    **dict.fromkeys(("history", "chat_history"), _TURNS),
    "chat_template_kwargs": _TEMPLATE,
    "rejected_response": _REJECTED,
}
"""Meanings by name, in lower case.

Without the first a model learns to answer other prompts than those of the data; without a judgement, either of the two
completions may be the better one. Scores, ratings, numbers and origins of rows are not among them: nothing is read
wrongly without them, and Hub data such as UltraFeedback's has them beside a pair that is complete.
"""
