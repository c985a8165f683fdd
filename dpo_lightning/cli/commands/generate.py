"""`dpo-lightning generate`: what a policy says to prompts, and beside it its reference."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from dpo_lightning.cli.parsers.generate import parser
from dpo_lightning.cli.quiet import leave_out_noise
from dpo_lightning.errors import InputError
from dpo_lightning.policy.decoding import completion_texts
from dpo_lightning.policy.sampling import Sampling, prompt_batches, sample_batches, steps_of
from dpo_lightning.rounds.endpoint import Endpoint
from dpo_lightning.rounds.generation import EndpointSampler, PolicySampler, Sampler, sample_file
from dpo_lightning.rounds.policy_models import models_of, on_its_device, tokenizer_of
from dpo_lightning.rounds.prompts import Asked, Prompt, asked_of, prompt_ids, writes_as_messages
from dpo_lightning.rounds.saved_policy import check_source, run_settings, template_date_of
from dpo_lightning.utils.files import check_writable
from dpo_lightning.utils.settings import NOT_NEGATIVE, POSITIVE, SEED, Rule, at_least, check_rules
from dpo_lightning.utils.text import shown

_COUNTS = ("max_new_tokens", "samples", "samples_at_once", "requests_at_once")
_RULES = {
    **dict.fromkeys(_COUNTS, at_least(1)),
    "temperature": NOT_NEGATIVE,
    "top_p": Rule("in (0, 1]", lambda value: 0 < value <= 1),
    "seed": SEED,
    "timeout": POSITIVE,
}
_SAMPLES_AT_ONCE = 32
_OF_A_SERVER = ("model", "key_variable", "requests_at_once", "timeout")
_OF_A_MODEL = ("config", "reference", "samples_at_once")


def generate(arguments: Sequence[str]) -> None:
    """Print completions of prompts, or write them into a file.

    Raises:
        InputError: for what cannot be loaded, or read, and for a reference that is not there.
    """
    options = parser().parse_args(arguments)
    _check(options)
    leave_out_noise()
    if options.source is not None:
        check_source(options.source, "generate")
    asked = asked_of(options.prompt, options.prompts, answers=options.out is None)
    if options.out is not None:
        _say_left_out(asked)
        check_writable("generate --out", options.out, directory=False)
    if options.endpoint is None:
        _from_model(options, asked)
    else:
        _from_server(options, asked)


def _check(options: argparse.Namespace) -> None:
    check_rules("generate --", options, **_RULES)
    if not options.temperature and options.samples > 1:
        raise InputError(f"generate --samples: {options.samples} completions at temperature 0 are all the same: take 1")
    if not options.temperature and options.top_p < 1:
        raise InputError("generate --top_p: at temperature 0 nothing is sampled: leave it out")
    if (options.endpoint is None) == (options.source is None):
        had = "neither" if options.source is None else "both"
        raise InputError(f"generate: give a checkpoint or a model, or --endpoint and --model: got {had}")
    foreign = _OF_A_SERVER if options.endpoint is None else _OF_A_MODEL
    for name in foreign:
        if getattr(options, name):
            remedy = "it is for --endpoint" if options.endpoint is None else "it is for a model that is loaded here"
            raise InputError(f"generate --{name}: nothing reads it: {remedy}: leave it out")
    if options.endpoint is not None and not options.model:
        raise InputError("generate --endpoint: say which of its models: --model NAME")
    if options.out is not None:
        _check_file(options)


def _check_file(options: argparse.Namespace) -> None:
    for name in ("json", "reference"):
        if getattr(options, name):
            raise InputError(f"generate --{name}: it prints, and --out writes the policy's rows: leave one out")
    if options.prompts is not None and options.prompts.resolve() == options.out.resolve():
        raise InputError(f"generate --out: {options.out} is the file of the prompts: give another path")


def _say_left_out(asked: Sequence[Asked]) -> None:
    names = sorted({name for each in asked for name in each.left_out})
    if names:
        print(shown(f"left out of the rows, as they are others' answers: {', '.join(names)}"), file=sys.stderr)


def _sampling(options: argparse.Namespace) -> Sampling:
    at_once = max(1, (options.samples_at_once or _SAMPLES_AT_ONCE) // options.samples)
    settings = options.max_new_tokens, options.temperature, options.seed, at_once, options.top_p
    return Sampling(options.samples, *settings)


def _from_server(options: argparse.Namespace, asked: Sequence[Asked]) -> None:
    given = {"timeout": options.timeout, "at_once": options.requests_at_once}
    more = {name: value for name, value in given.items() if value is not None}
    endpoint = Endpoint(options.endpoint, options.model, options.key_variable or "OPENAI_API_KEY", **more)
    sampler = EndpointSampler(endpoint, _sampling(options), plain=options.plain)
    if options.out is not None:
        _write(sampler, asked, options)
        return
    for rows in sampler.candidates(asked):
        for row in rows:
            _print(row.prompt, {"policy": row.completions}, as_json=options.json)


def _from_model(options: argparse.Namespace, asked: Sequence[Asked]) -> None:
    run = run_settings(options.config, "generate")
    date = template_date_of(run["data"])
    with models_of(options.source, run, with_reference=options.reference) as models:
        tokenizer = tokenizer_of(models, run, "generate")
        if not options.plain and writes_as_messages([each.prompt for each in asked], tokenizer):
            print("prompts are written by the chat template; --plain continues texts as they are", file=sys.stderr)
        policy = on_its_device(models.policy)
        if options.out is not None:
            how: dict[str, Any] = {"plain": options.plain, "date": date}
            sampler = PolicySampler(policy, tokenizer, options.source, _sampling(options), **how)
            _write(sampler, asked, options)
            return
        ids = [prompt_ids(each, tokenizer, plain=options.plain, date=date) for each in asked]
        found = {"policy": _sampled(policy, ids, tokenizer, options)}
        if models.reference is not None:
            with models.reference as reference:
                found["reference"] = _sampled(reference, ids, tokenizer, options)
    for number, each in enumerate(asked):
        _print(each.prompt, {name: texts[number] for name, texts in found.items()}, as_json=options.json)


def _write(sampler: Sampler, asked: Sequence[Asked], options: argparse.Namespace) -> None:
    found = sample_file(sampler, asked, options.out)
    share = f"{found.ended / found.completions:.0%} ended by themselves"
    before = f", {found.before} of them from before" if found.before else ""
    print(shown(f"{found.completions} completions of {found.prompts} prompts{before} in {options.out}: {share}"))


def _sampled(model: nn.Module, ids: list[list[int]], tokenizer: Any, options: argparse.Namespace) -> list[list[str]]:
    from tqdm import tqdm

    sampling = _sampling(options)
    batches = prompt_batches(ids, sampling)
    shows = sys.stderr.isatty()
    with tqdm(total=steps_of(batches, sampling), desc="generating", disable=not shows, leave=False) as bar:
        tokens = sample_batches(model, ids, batches, tokenizer.eos_token_id, sampling, bar.update)
    return [completion_texts(tokenizer, tokens[place]) for place in range(len(ids))]


def _print(prompt: Prompt, found: Mapping[str, list[str]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"prompt": prompt, "reference": None, **found}))
        return
    text = prompt if isinstance(prompt, str) else "\n".join(f"{each['role']}: {each.get('content')}" for each in prompt)
    print(shown(f"prompt: {text}"))
    for name, texts in found.items():
        for each in texts:
            print(shown(f"{name}: {each.strip()}"))
    print()
