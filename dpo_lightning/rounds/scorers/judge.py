"""Scores by a language model that compares answers in pairs, each pair in both orders, arXiv:2306.05685."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, ClassVar, Literal, NamedTuple

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.endpoint import Endpoint
from dpo_lightning.rounds.scorers.base import Scorer
from dpo_lightning.rounds.scorers.rubric import AGAIN, FORM, Verdict, question, rubric_of, verdict_in
from dpo_lightning.utils.settings import NOT_NEGATIVE, at_least, check_rules
from dpo_lightning.utils.text import one_line

_COLUMN = "judged"
_COUNTS = ("comparisons", "changed", "first", "ties", "none")

Compare = Literal["all", "best"]


class Settings(NamedTuple):
    """Settings of a judge.

    Attributes:
        model: Name of the model, as its server has it.
        rubric: What makes an answer good.
        compare: `all` pairs of a prompt's answers, or each with the `best` so far.
        ask_again: Times that an answer without a verdict is asked again.
        max_tokens: Most tokens of an answer of the judge.
    """

    model: str
    rubric: str
    compare: Compare = "all"
    ask_again: int = 2
    max_tokens: int = 1024


class _Compared(NamedTuple):
    """Two completions and what the judge said of them in both orders, as which of the two is better."""

    pair: tuple[int, int]
    said: tuple[Verdict | None, Verdict | None]
    unread: str | None = None

    @property
    def has_verdict(self) -> bool:
        return None not in self.said

    @property
    def changed(self) -> bool:
        """True where the answer changed with the order: of two answers that are swapped, A becomes B."""
        return self.has_verdict and (*self.said,) not in (("A", "B"), ("B", "A"), ("C", "C"))

    @property
    def winner(self) -> int | None:
        """The completion that is better in both orders; None for a tie, and where there is no verdict."""
        return {("A", "B"): self.pair[0], ("B", "A"): self.pair[1]}.get(self.said)  # type: ignore[arg-type]


class Judge(Scorer):
    """Scores by comparisons, each in both orders: where they disagree, it is a tie.

    With all pairs, a score is the share of comparisons that were won, a tie half of one; with the best so far it is 1
    for the best and what is tied with it, 0 for the others. A comparison without a verdict counts as a tie in scores,
    and apart in the counts. A completion that is alone has 0.5; two of one text are a tie that nobody is asked about.

    Args:
        endpoint: The model's server.
        settings: What it is asked.
    """

    at_once: ClassVar[int] = 4

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self._endpoint, self._settings = endpoint, settings
        self._columns: list[Mapping[str, Any]] = []

    @property
    def made(self) -> Mapping[str, Any]:
        """The model and the texts that it is asked with, in full."""
        return {**self._settings._asdict(), "form": FORM}

    def score(self, rows: Sequence[Candidates]) -> list[list[float]]:
        """Return the scores of each row's completions.

        Raises:
            InputError: for a server that does not answer.
        """
        found = self._all(rows) if self._settings.compare == "all" else [*self._endpoint.in_order(self._best, rows)]
        self._columns = [{_COLUMN: _counted(compared)} for _, compared in found]
        return [scores for scores, _ in found]

    def columns(self) -> Sequence[Mapping[str, Any]]:
        """Return the counts of each row, and what was no verdict."""
        return self._columns

    def lines(self, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return how often the order changed the answer, ties, and what was no verdict."""
        counts = [row[_COLUMN] for row in rows]
        whole = {name: sum(each[name] for each in counts) for name in _COUNTS}
        asked = whole["comparisons"] or 1
        with_verdict = whole["comparisons"] - whole["none"] or 1
        said = [
            f"{whole['comparisons']} comparisons in both orders: {whole['ties']} ties ({whole['ties'] / asked:.0%}), "
            f"{whole['none']} without a verdict",
            f"position bias: {whole['changed']} of {with_verdict} answers ({whole['changed'] / with_verdict:.0%}) "
            f"changed with the order, {whole['first']} of them for the first answer both times",
        ]
        unread = next((text for each in counts for text in each.get("unread", ())), None)
        return said if unread is None else [*said, f"the first that was no verdict: {unread}"]

    def _all(self, rows: Sequence[Candidates]) -> list[tuple[list[float], list[_Compared]]]:
        asked = [(row, pair) for row in rows for pair in combinations(range(len(row.completions)), 2)]
        answers = self._endpoint.in_order(lambda each: self._compare(*each), asked)
        found = []
        for row in rows:
            count = len(row.completions)
            compared = [next(answers) for _ in combinations(range(count), 2)]
            points = [0.0] * count
            for each in compared:
                for place in each.pair:
                    points[place] += 0.5 if each.winner is None else float(each.winner == place)
            found.append(([value / (count - 1) for value in points] if count > 1 else [0.5], compared))
        return found

    def _best(self, row: Candidates) -> tuple[list[float], list[_Compared]]:
        """Compare each completion with the best so far; a tie keeps both in front."""
        best, tied, compared = 0, {0}, []
        for place in range(1, len(row.completions)):
            each = self._compare(row, (best, place))
            compared.append(each)
            if each.winner == place:
                best, tied = place, {place}
            elif each.winner is None:
                tied.add(place)
        if not compared:
            return [0.5], compared
        return [float(place in tied) for place in range(len(row.completions))], compared

    def _compare(self, row: Candidates, pair: tuple[int, int]) -> _Compared:
        one, two = (row.completions[place] for place in pair)
        if one == two:
            return _Compared(pair, ("C", "C"))
        answers = [self._verdict(row, *texts) for texts in ((one, two), (two, one))]
        unread = next((text for verdict, text in answers if verdict is None), None)
        return _Compared(pair, (answers[0][0], answers[1][0]), unread)

    def _verdict(self, row: Candidates, first: str, second: str) -> tuple[Verdict | None, str]:
        """Ask for a verdict, and again where an answer is none; return the last answer too."""
        messages = question(self._settings.rubric, row, first, second)
        for _ in range(self._settings.ask_again + 1):
            reply = self._endpoint.chat(messages, temperature=0.0, max_tokens=self._settings.max_tokens)[0]
            verdict = verdict_in(reply.text) if reply.ended else None
            if verdict is not None:
                break
            messages = [*messages, {"role": "assistant", "content": reply.text}, {"role": "user", "content": AGAIN}]
        return verdict, reply.text


def _counted(compared: Sequence[_Compared]) -> dict[str, Any]:
    """Return a row's counts; ties are those by verdict, in both orders or by their disagreement."""
    unread = [one_line(repr(each.unread), 120) for each in compared if each.unread is not None]
    counts: dict[str, Any] = {
        "comparisons": len(compared),
        "changed": sum(each.changed for each in compared),
        "first": sum(each.said == ("A", "A") for each in compared),
        "ties": sum(each.winner is None and each.has_verdict for each in compared),
        "none": sum(not each.has_verdict for each in compared),
    }
    return {**counts, "unread": unread} if unread else counts


def scorer(options: Namespace, command: str) -> Scorer:
    """Return the judge that the options name.

    Raises:
        InputError: without an endpoint, and for a rubric that cannot be read.
    """
    if options.endpoint is None:
        raise InputError(f"{command} --judge {options.judge}: give its server as --endpoint URL")
    check_rules(f"{command} --", options, ask_again=NOT_NEGATIVE, judge_tokens=at_least(1))
    rubric = rubric_of(options.rubric, f"{command} --rubric")
    given = {"compare": options.compare, "ask_again": options.ask_again, "max_tokens": options.judge_tokens}
    settings = Settings(options.judge, rubric, **{name: value for name, value in given.items() if value is not None})
    variable = {} if options.key_variable is None else {"key_variable": options.key_variable}
    return Judge(Endpoint(options.endpoint, options.judge, **variable), settings)
