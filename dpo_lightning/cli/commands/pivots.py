"""`dpo-lightning pivots`: tokens that decide on an answer's success, as pairs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dpo_lightning.cli.parsers.pivots import parser
from dpo_lightning.cli.quiet import leave_out_noise
from dpo_lightning.data.tokenize.loading import load_tokenizer
from dpo_lightning.errors import InputError
from dpo_lightning.policy.sampling import Sampling
from dpo_lightning.rounds.continuations import Continuer, EndpointContinuer, PolicyContinuer, TrainingTokens
from dpo_lightning.rounds.endpoint import Endpoint
from dpo_lightning.rounds.pivots import Pivots, PivotSettings, search_file, searched_path
from dpo_lightning.rounds.policy_models import models_of, on_its_device, tokenizer_of
from dpo_lightning.rounds.saved_policy import check_source, run_settings, template_date_of
from dpo_lightning.rounds.scorers.options import OF_JUDGE, scorer_of
from dpo_lightning.utils.files import check_writable
from dpo_lightning.utils.settings import POSITIVE, SEED, Rule, at_least, check_rules
from dpo_lightning.utils.text import shown

_RULES = {
    **dict.fromkeys(("samples", "max_new_tokens", "alternatives"), at_least(1)),
    "temperature": POSITIVE,
    "gap": Rule("in (0, 1]", lambda value: 0 < value <= 1),
    "threshold": Rule("a finite number", lambda value: abs(value) < float("inf")),
    "seed": SEED,
}
_SHOWN = 30


def pivots(arguments: Sequence[str]) -> None:
    """Write pairs of pivotal tokens.

    Raises:
        InputError: for what cannot be loaded, read or judged, and where there is no pair.
    """
    options = parser().parse_args(arguments)
    _check(options)
    leave_out_noise()
    least, most = options.between
    settings = PivotSettings(options.threshold, options.gap, least, most, options.alternatives)
    with scorer_of(options, "pivots") as scorer, _continuer(options) as continuer:
        found = search_file(options.file, options.out, continuer, scorer, settings)
    _print(found, options)


def _check(options: argparse.Namespace) -> None:
    check_rules("pivots --", options, **_RULES)
    least, most = options.between
    if not 0 <= least <= most <= 1:
        raise InputError(f"pivots --between: give two chances from 0 to 1, the smaller first, got {least:g} {most:g}")
    for name in OF_JUDGE:
        if getattr(options, name) is not None:
            raise InputError(
                f"pivots --{name}: a judge compares answers, and success is of one answer alone: take --function, "
                "--reward_model or --run"
            )
    if (options.server is None) != (options.server_model is None):
        raise InputError("pivots --server: give its address and the name that it has for the policy, --server_model")
    if options.server is None and options.server_key_variable is not None:
        raise InputError("pivots --server_key_variable: nothing reads it without --server: leave it out")
    if options.out.resolve() == options.file.resolve():
        raise InputError(f"pivots --out: {options.out} is the file that is read: give another path")
    check_source(options.policy, "pivots")
    check_writable("pivots --out", options.out, directory=False)


@contextmanager
def _continuer(options: argparse.Namespace) -> Iterator[Continuer]:
    run = run_settings(options.policy_config, "pivots")
    date = template_date_of(run["data"])
    sampling = Sampling(options.samples, options.max_new_tokens, options.temperature, options.seed)
    if options.server is not None:
        endpoint = Endpoint(options.server, options.server_model, options.server_key_variable or "OPENAI_API_KEY")
        data = run["data"]
        tokenizer = load_tokenizer(
            data.get("tokenizer") or options.policy,
            data.get("chat_template"),
            data.get("chat_template_kwargs"),
            key="pivots --policy",
        )
        yield EndpointContinuer(endpoint, TrainingTokens(tokenizer, date), sampling)
        return
    with models_of(options.policy, run) as models:
        tokens = TrainingTokens(tokenizer_of(models, run, "pivots"), date)
        yield PolicyContinuer(on_its_device(models.policy), options.policy, tokens, sampling)


def _print(found: Pivots, options: argparse.Namespace) -> None:
    for pair in found.shown:
        prompt = pair["prompt"] if isinstance(pair["prompt"], str) else pair["prompt"][-1]["content"]
        print(shown(f"{_end(prompt)!r}: {pair['chosen']!r} succeeds in {pair['p_chosen']:.0%}, "
                    f"{pair['rejected']!r} in {pair['p_rejected']:.0%}"))  # fmt: skip
    print(shown(f"{found.pairs} pairs of {found.rows} rows in {options.out}, to train on with --data.eos never"))
    low, high = options.between
    print(f"{found.outside} rows were not searched: their chance is below {low:g} or above {high:g}")
    print(f"{found.without_pair} pivotal tokens gave no pair: no other end there, or no single tokens")
    print(shown(f"chances along each answer in {searched_path(options.out)}"))


def _end(text: str) -> str:
    return text if len(text) <= _SHOWN else f"…{text[-_SHOWN:]}"
