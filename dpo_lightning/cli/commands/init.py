"""`dpo-lightning init`: a config to begin with."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from dpo_lightning import PreferenceDataModule
from dpo_lightning.cli.config_files import check_new_config
from dpo_lightning.cli.methods import Method, method_named
from dpo_lightning.cli.parsers.init import parser
from dpo_lightning.cli.quiet import leave_out_noise
from dpo_lightning.cli.starting_config import Facts, Training, most_of, starting_config
from dpo_lightning.cli.surveys import survey
from dpo_lightning.data.inspect import Survey
from dpo_lightning.errors import InputError
from dpo_lightning.estimate import model_shape
from dpo_lightning.policy.loading import load_config
from dpo_lightning.policy.prepare import PolicyOptions
from dpo_lightning.utils.files import replaced
from dpo_lightning.utils.text import shown

_ROWS = 2000  # that are looked at
_ADAPTERS_FROM = 2e9  # parameters; below, one GPU of 40 GB trains all of them
_LABELLED = "labelled completions"


def init(arguments: Sequence[str]) -> None:
    """Write the config, and print what comes next.

    Raises:
        InputError: for a file that is there already, a model or data that cannot be read, a method that is none, and
            one that the data is not for.
    """
    options = parser().parse_args(arguments)
    out: Path = options.out
    check_new_config(out, "init --out")
    leave_out_noise()
    asked = None if options.method is None else method_named(options.method)
    shape = model_shape(options.model, PolicyOptions())
    facts = _facts(options.model, shape.parameters, options.data, asked)
    method = asked or Method("KTO" if facts.kind == _LABELLED else "DPO", {})
    lora = options.lora or options.qlora or (shape.parameters >= _ADAPTERS_FROM and not options.full)
    text = starting_config(facts, method, Training(lora, options.qlora), f"runs/{out.stem}")
    with replaced(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(shown("\n".join(_said(out, facts, method))))


def _facts(model: str, parameters: int, dataset: str, method: Method | None) -> Facts:
    """Look at the data as a run would read it, and at the machine."""
    data = PreferenceDataModule(dataset, tokenizer=model)
    read = survey(data, data.tokenizer, None if method is None else method.read, most_rows=_ROWS)
    examples = read.train.examples
    if not examples:
        raise InputError(f"init --data: {dataset}: no example in it: `dpo-lightning inspect {dataset}` says why")
    whole = [each.whole for each in examples]
    on_gpu = torch.cuda.is_available()
    return Facts(
        model,
        parameters,
        int(getattr(load_config(model).get_text_config(), "max_position_embeddings", None) or 4096),
        dataset,
        read.train.rows or read.train.looked_at,
        _kind(read),
        [each[0] + max(each[1:]) for each in whole],
        most_of([sum(each) for each in whole]),
        torch.cuda.get_device_properties(0).total_memory / 2**30 if on_gpu else None,
        on_gpu and torch.cuda.is_bf16_supported(including_emulation=False),
    )


def _kind(read: Survey) -> str:
    examples = read.train.examples
    if any(each.labels is not None for each in examples):
        return _LABELLED
    return "lists" if any(len(each.completion_ids) > 2 for each in examples) else "pairs"


def _said(out: Path, facts: Facts, method: Method) -> Iterator[str]:
    config = shlex.quote(str(out))
    yield f"{out}: {method.name} on {facts.rows:,} rows of {facts.dataset} ({facts.kind}); each value has its reason"
    yield f"next: dpo-lightning inspect --config {config}     what is in the data"
    yield f"      dpo-lightning plan --config {config}        memory and time on GPUs"
    yield f"      dpo-lightning fit --config {config}"
