"""`dpo-lightning export`: a checkpoint as a Hugging Face directory, or shards as a single file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.optim import AdamW

from dpo_lightning import SFT, Constant
from dpo_lightning.checkpoints.outlines import outline
from dpo_lightning.cli.parsers.export import parser
from dpo_lightning.errors import InputError
from dpo_lightning.policy.export import ExportForm, check_target, export_problem, write_model
from dpo_lightning.reference import NoReference
from dpo_lightning.report.model_card import Card
from dpo_lightning.report.record import RunRecord, read_document
from dpo_lightning.report.recorded_samples import card_at, shown_samples
from dpo_lightning.rounds.saved_policy import loaded_module, run_settings, run_tokenizer, single_file
from dpo_lightning.utils.files import check_writable
from dpo_lightning.utils.hub_upload import HubTarget
from dpo_lightning.utils.settings import at_least, check_rules
from dpo_lightning.utils.text import shown


def export(arguments: Sequence[str]) -> None:
    """Export a checkpoint.

    Raises:
        InputError: for a checkpoint that cannot be read, and where there is nothing to merge.
    """
    options = parser().parse_args(arguments)
    if options.out is None and options.checkpoint is None:
        raise InputError("export: say what to write: --out DIR, --checkpoint FILE, or both")
    check_rules("export --", options, samples=at_least(0))
    form = ExportForm(options.merged, options.dtype)
    hub = _hub_target(options)
    source, config, directory = _of_run(options.source, options.which, options.config)
    run = run_settings(config, "export")
    if options.out is not None:
        check_target(options.out)
        check_writable("export --out", options.out, directory=True)
    if options.checkpoint is not None:
        check_writable("export --checkpoint", options.checkpoint, directory=False)
    if hub is not None:
        hub.check()
    with single_file(source, options.checkpoint) as file:
        if options.out is not None:
            _write(file, run, options.out, form, _card(directory, options.samples, file))
    if hub is not None:
        print(shown(f"pushed to {hub.push(options.out)}"))


def _hub_target(options: argparse.Namespace) -> HubTarget | None:
    if options.push_to is None:
        for name in ("private", "revision"):
            if getattr(options, name) is not None:
                raise InputError(f"export --{name} is that of the repository in --push_to: give that too")
        return None
    if options.out is None:
        raise InputError("export --push_to: say where the model is written before: --out DIR")
    return HubTarget(options.push_to, options.private, options.revision, "export --push_to")


def _of_run(source: Path, which: str | None, config: Path | None) -> tuple[Path, Path | None, Path | None]:
    """Return a checkpoint, its config and its run's directory: of the latter those that its record names."""
    record = RunRecord(source)
    if not record.folder.is_dir():
        if which is not None:
            raise InputError(f"export --which: {source} is no directory of a run: give that, or leave the option out")
        return source, config, None if config is None else config.parent
    places = (read_document(record.facts) or {}).get("places")
    found = places.get(which or "last") if isinstance(places, Mapping) else None
    if not isinstance(found, str) or not Path(found).exists():
        monitored = "; a ModelCheckpoint with a monitor keeps it" if which == "best" else ""
        raise InputError(
            f"export: {source} names no {which or 'last'} checkpoint that is there: give its file{monitored}"
        )
    beside = source / "config.yaml"
    return Path(found), config or (beside if beside.is_file() else None), source


def _card(directory: Path | None, samples: int, file: Path) -> Card | None:
    """Return what the record in a run's directory says of a checkpoint; None where there is none that can be read."""
    if directory is None:
        return None
    record = RunRecord(directory)
    try:
        facts = read_document(record.facts)
    except (InputError, RecursionError):  # a record is of help, and no part of the model
        return None
    if facts is None:
        return None
    step = int(outline(file).rest.get("global_step") or 0)
    return card_at(Card(facts, samples=shown_samples(record, samples, step)), record, step)


def _write(file: Path, run: Mapping[str, Any], out: str, form: ExportForm, card: Card | None) -> None:
    # None is asked for, and a checkpoint may hold none, or name classes that are not here.
    unread: dict[str, Any] = {"objective": SFT(), "reference": NoReference()}
    unread |= {"optimizer": AdamW, "schedule": Constant()}
    module = loaded_module(file, run, **unread)
    check_target(out, module.names_read())
    if problem := export_problem(module.policy, form, module.lost_base()):
        raise InputError(f"export {'--merged' if form.merged else '--out'}: {problem}")
    tokenizer = run_tokenizer(run["data"], module.policy_name)
    write_model(module.policy, module.original_config(), tokenizer, out, form, card)
