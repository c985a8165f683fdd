"""The comparisons that people hold: `ComparedFormat` with the columns and labels of well-known data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Optional

from dpo_lightning.data.formats.compared import ComparedFormat

Says = Literal["first", "second", "tie"]

_SHP: dict[str, Says] = {"1": "first", "0": "second"}
_SAFE: dict[str, Says] = {"0": "first", "1": "second"}
_EVAL: dict[str, Says] = {"0": "tie", "null": "tie", "nan": "tie"}
_ARENA: dict[str, Says] = {
    **dict.fromkeys(("model_a", "response_a", "a", "left", "a>b", "a>>b"), "first"),
    **dict.fromkeys(("model_b", "response_b", "b", "right", "b>a", "b>>a"), "second"),
    **dict.fromkeys(("tie", "tie (bothbad)", "both", "neither", "none", "draw", "equal", "same", "c", "a=b"), "tie"),
}


@dataclass(frozen=True)
class SHPFormat(ComparedFormat):
    """Stanford Human Preferences: `labels` is 1 where A is preferred, and 0 where B is. Source: the data's card.

    Example:
        >>> row = {"history": "1 + 1?", "human_ref_A": "3", "human_ref_B": "2", "labels": 0}
        >>> SHPFormat().examples(row)[0].completions
        ['2', '3']
    """

    prompt: str = "history"
    first: str = "human_ref_A"
    second: str = "human_ref_B"
    preference: str = "labels"
    verdicts: Optional[dict[str, Says]] = field(default_factory=lambda: dict(_SHP))


@dataclass(frozen=True)
class SafeRLHFFormat(ComparedFormat):
    """PKU-SafeRLHF: `better_response_id` is 0 or 1; `safer_response_id` may be named instead. Source: the data's card.

    Example:
        >>> row = {"prompt": "1 + 1?", "response_0": "3", "response_1": "2", "better_response_id": 1}
        >>> SafeRLHFFormat().examples(row)[0].completions
        ['2', '3']
    """

    first: str = "response_0"
    second: str = "response_1"
    preference: str = "better_response_id"
    verdicts: Optional[dict[str, Says]] = field(default_factory=lambda: dict(_SAFE))


@dataclass(frozen=True)
class HelpSteerFormat(ComparedFormat):
    """HelpSteer2's `preference_strength`: negative where the first response is better, 0 where none is.

    HelpSteer3 has the same scale in `overall_preference`, with `context`, `response1` and `response2`. Source: the
    cards of the data.

    Example:
        >>> row = {"prompt": "1 + 1?", "response_1": "3", "response_2": "2", "preference_strength": 2}
        >>> HelpSteerFormat().examples(row)[0].completions
        ['2', '3']
    """

    preference: str = "preference_strength"
    boundary: Optional[float] = 0.0
    scale: Optional[list[float]] = field(default_factory=lambda: [-3.0, 3.0])


@dataclass(frozen=True)
class ArenaFormat(ComparedFormat):
    """Battles of two models: `winner` is `model_a`, `model_b`, the name of one, or a tie.

    Source: the cards of the Chatbot Arena data.

    Example:
        >>> row = {"prompt": "1 + 1?", "response_a": "3", "response_b": "2", "winner": "model_b"}
        >>> ArenaFormat().examples(row)[0].completions
        ['2', '3']
    """

    first: str = "response_a"
    second: str = "response_b"
    preference: str = "winner"
    names: Optional[list[str]] = field(default_factory=lambda: ["model_a", "model_b"])
    verdicts: Optional[dict[str, Says]] = field(default_factory=lambda: dict(_ARENA))


@dataclass(frozen=True)
class AlpacaEvalFormat(ComparedFormat):
    """Annotations of AlpacaEval and AlpacaFarm: `preference` is 1 or 2, or between them; 1.5, 0 and null are ties.

    Source: the README of alpaca_eval.

    Example:
        >>> row = {"instruction": "1 + 1?", "input": "", "output_1": "3", "output_2": "2", "preference": 1.98}
        >>> AlpacaEvalFormat().examples(row)[0].completions
        ['2', '3']
    """

    prompt: str = "instruction"
    input: Optional[str] = "input"
    first: str = "output_1"
    second: str = "output_2"
    preference: str = "preference"
    verdicts: Optional[dict[str, Says]] = field(default_factory=lambda: dict(_EVAL))
    boundary: Optional[float] = 1.5
    scale: Optional[list[float]] = field(default_factory=lambda: [1.0, 2.0])
