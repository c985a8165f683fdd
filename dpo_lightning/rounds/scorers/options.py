"""Options that name a scorer, for every command that scores: without torch, so that help is there at once."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_lightning.errors import InputError
from dpo_lightning.utils.text import shown

if TYPE_CHECKING:
    from dpo_lightning.rounds.scorers.base import Scorer

_OWN: Mapping[str, tuple[str, ...]] = {
    "function": (),
    "reward_model": ("label", "max_length", "plain", "device", "dtype"),
    "run": ("reference", "config", "beta", "device", "dtype"),
    "judge": ("endpoint", "key_variable", "rubric", "compare", "ask_again", "judge_tokens"),
}
"""Options that each scorer reads beside the one that names it, which is also the name of its module."""
_DTYPES = ("float32", "bfloat16", "float16")
_MODULES = {"function": "function", "reward_model": "reward_model", "run": "implicit", "judge": "judge"}


def add_scorer_arguments(parser: ArgumentParser, *, shows_judge: bool = True) -> None:
    """Add the options of all scorers; null stands for one that was not given.

    Args:
        parser: Gets the options.
        shows_judge: Whether the help names the judge; a command that scores single answers refuses its options.
    """

    def of_judge(text: str) -> str:
        return text if shows_judge else SUPPRESS

    one = parser.add_argument_group("what the scores come from, one of")
    one.add_argument("--function", metavar="PATH", help="FILE.py:NAME or package.name of f(prompt, completion)")
    one.add_argument("--reward_model", metavar="MODEL", help="a Hugging Face reward model")
    one.add_argument("--run", metavar="CHECKPOINT", help="a run, or its model: beta times the log-ratio")
    one.add_argument("--judge", metavar="MODEL", help=of_judge("a language model behind --endpoint: it compares pairs"))
    more = parser.add_argument_group("options of scorers")
    more.add_argument("--label", metavar="N", help="reward model: the logit that is the score")
    more.add_argument("--max_length", type=int, metavar="N", help="reward model: cut texts at N tokens, counted")
    more.add_argument("--plain", action="store_true", default=None, help="reward model: texts without a template")
    more.add_argument("--reference", metavar="MODEL", help="run: the model that it is compared with")
    more.add_argument("--config", type=Path, metavar="RUN.yaml", help="run: its config")
    more.add_argument("--beta", type=float, metavar="X", help="run: the factor, where no checkpoint says it")
    more.add_argument("--device", metavar="NAME", help="model: cpu or cuda; the GPU where there is one")
    more.add_argument("--dtype", choices=_DTYPES, metavar="NAME", help="model: float32, bfloat16 or float16; its own")
    more.add_argument("--endpoint", metavar="URL", help=of_judge("judge: an OpenAI-compatible server, such as vLLM's"))
    more.add_argument("--key_variable", metavar="NAME", help=of_judge("judge: environment variable with its key"))
    more.add_argument("--rubric", type=Path, metavar="FILE", help=of_judge("judge: what makes an answer good, as text"))
    more.add_argument(
        "--compare", choices=("all", "best"), help=of_judge("judge: all pairs, or each with the best so far")
    )
    more.add_argument(
        "--ask_again", type=int, metavar="N", help=of_judge("judge: times it is asked again for a verdict, 2")
    )
    more.add_argument(
        "--judge_tokens", type=int, metavar="N", help=of_judge("judge: most tokens of what it says, 1024")
    )


OF_JUDGE = ("judge", *_OWN["judge"])
"""Options of the judge, the one that names it first."""


def scorer_of(options: Namespace, command: str) -> Scorer:
    """Load the scorer that the options name; use it in a `with`.

    Raises:
        InputError: unless exactly one is named, for an option of another one, and for what cannot be loaded.
    """
    name = check_scorer(options, command)
    module = import_module(f"{__package__}.{_MODULES[name]}")
    scorer: Scorer = module.scorer(options, command)
    return scorer


def check_scorer(options: Namespace, command: str) -> str:
    """Return the name of the scorer that the options name.

    Raises:
        InputError: unless exactly one is named, and for an option of another one.
    """
    named = [name for name in _OWN if getattr(options, name) is not None]
    if len(named) != 1:
        said = " and ".join(f"--{name}" for name in named) or "none"
        raise InputError(f"{command}: name one scorer, got {said}: --function, --reward_model, --run or --judge")
    name = named[0]
    for other in sorted({each for own in _OWN.values() for each in own} - {*_OWN[name]}):
        if getattr(options, other) is not None:
            owners = " or ".join(f"--{each}" for each, own in _OWN.items() if other in own)
            raise InputError(f"{command} --{other}: nothing reads it with --{name}: it is for {owners}")
    return name


def names_scorer(options: Namespace) -> bool:
    """Return whether an option names a scorer, or is one of a scorer's."""
    return any(getattr(options, name) is not None for name in {*_OWN, *(each for own in _OWN.values() for each in own)})


def shown_scorer(options: Namespace) -> str:
    """Return the scorer as the options name it, for a line or a column."""
    return next(shown(f"{name} {getattr(options, name)}") for name in _OWN if getattr(options, name) is not None)
