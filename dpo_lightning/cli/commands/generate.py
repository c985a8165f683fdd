"""`dpo-lightning generate`: what a policy says to prompts, and beside it its reference."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.optim import AdamW

from dpo_lightning import DPO, SFT, Constant, PreferenceModule
from dpo_lightning.checkpoints import MANIFEST
from dpo_lightning.cli.parsers.generate import parser
from dpo_lightning.cli.quiet import leave_out_noise
from dpo_lightning.errors import InputError
from dpo_lightning.policy.loading import load_config, load_model
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.policy.sampling import Sampling, prompt_batches, sample_batches, steps_of
from dpo_lightning.reference import NoReference, Precomputed
from dpo_lightning.rounds.prompts import Prompt, prompt_ids, prompts_of, writes_as_messages
from dpo_lightning.rounds.saved_policy import check_source, loaded_module, run_settings, run_tokenizer, single_file
from dpo_lightning.utils.settings import NOT_NEGATIVE, SEED, at_least, check_rules
from dpo_lightning.utils.text import shown

_RULES = {**dict.fromkeys(("max_new_tokens", "samples"), at_least(1)), "temperature": NOT_NEGATIVE, "seed": SEED}
_SAMPLES_AT_ONCE = 32


class _Models(NamedTuple):
    """A policy, what is its reference inside a block, and the name that a tokenizer is looked for by."""

    policy: nn.Module
    reference: Any
    name: str | None


def generate(arguments: Sequence[str]) -> None:
    """Print completions of prompts.

    Raises:
        InputError: for what cannot be loaded, or read, and for a reference that is not there.
    """
    options = parser().parse_args(arguments)
    check_rules("generate --", options, **_RULES)
    if not options.temperature and options.samples > 1:
        raise InputError(f"generate --samples: {options.samples} completions at temperature 0 are all the same: take 1")
    leave_out_noise()
    check_source(options.source, "generate")
    prompts = prompts_of(options.prompt, options.prompts)
    run = run_settings(options.config, "generate")
    with _models(options, run) as models:
        tokenizer = run_tokenizer(run["data"], models.name)
        if tokenizer is None:
            raise InputError("generate: no tokenizer beside the model: give the run's config as --config")
        if not options.plain and writes_as_messages(prompts, tokenizer):
            print("prompts are written by the chat template; --plain continues texts as they are", file=sys.stderr)
        ids = [prompt_ids(each, tokenizer, plain=options.plain) for each in prompts]
        models.policy.to("cuda" if torch.cuda.is_available() else "cpu")
        found = {"policy": _sampled(models.policy, ids, tokenizer, options)}
        if models.reference is not None:
            with models.reference as reference:
                found["reference"] = _sampled(reference, ids, tokenizer, options)
    for number, prompt in enumerate(prompts):
        _print(prompt, {name: texts[number] for name, texts in found.items()}, as_json=options.json)


@contextmanager
def _models(options: argparse.Namespace, run: Mapping[str, Any]) -> Iterator[_Models]:
    source = Path(options.source)
    if source.is_file() or (source / MANIFEST).is_file() or (source / ".metadata").is_file():
        with single_file(source) as file:
            module = _of_checkpoint(file, run, with_reference=options.reference)
            yield _Models(module.policy, _reference_of(module) if options.reference else None, module.policy_name)
        return
    kwargs = run["model"].get("model_kwargs")
    dtype = getattr(load_config(options.source, kwargs), "dtype", None) or torch.float32
    policy = load_model(options.source, dtype, model_kwargs=kwargs)
    if options.reference and not is_adapted(policy):
        raise InputError(
            f"generate --reference: {options.source} is a whole model, and no reference is beside it: give the run's "
            "checkpoint, or generate from the other model too"
        )
    yield _Models(policy, _without_adapter(policy) if options.reference else None, options.source)


def _of_checkpoint(file: Path, run: Mapping[str, Any], *, with_reference: bool) -> PreferenceModule:
    unread: dict[str, Any] = {"optimizer": AdamW, "schedule": Constant()}
    if not with_reference:
        return loaded_module(file, run, **unread, objective=SFT(), reference=NoReference())
    module = loaded_module(file, run, **unread, objective=DPO())
    if isinstance(settings := module.reference_settings, Precomputed):  # the values of its pairs are no model
        return loaded_module(file, run, **unread, objective=DPO(), reference=settings.source)
    return module


@contextmanager
def _reference_of(module: PreferenceModule) -> Iterator[nn.Module]:
    with module.reference.generating() as model:
        if model is None:
            raise InputError(
                "generate --reference: the run has none that generates, or its model is gone: leave it out"
            )
        yield model


@contextmanager
def _without_adapter(policy: nn.Module) -> Iterator[nn.Module]:
    with cast(Any, policy).disable_adapter():
        yield policy


def _sampled(model: nn.Module, ids: list[list[int]], tokenizer: Any, options: argparse.Namespace) -> list[list[str]]:
    from tqdm import tqdm

    at_once = max(1, _SAMPLES_AT_ONCE // options.samples)
    sampling = Sampling(options.samples, options.max_new_tokens, options.temperature, options.seed, at_once)
    batches = prompt_batches(ids, sampling)
    shows = sys.stderr.isatty()
    with tqdm(total=steps_of(batches, sampling), desc="generating", disable=not shows, leave=False) as bar:
        tokens = sample_batches(model, ids, batches, tokenizer.eos_token_id, sampling, bar.update)
    return [tokenizer.batch_decode(tokens[place], skip_special_tokens=True) for place in range(len(ids))]


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
