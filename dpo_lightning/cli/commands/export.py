"""`dpo-lightning export`: a checkpoint as a Hugging Face directory, or shards as a single file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.optim import AdamW

from dpo_lightning import SFT, Constant
from dpo_lightning.cli.parsers.export import parser
from dpo_lightning.errors import InputError
from dpo_lightning.policy.export import Card, ExportForm, check_target, export_problem, write_model
from dpo_lightning.reference import NoReference
from dpo_lightning.report.record import RunRecord, read_document, read_rows
from dpo_lightning.rounds.saved_policy import loaded_module, run_settings, run_tokenizer, single_file
from dpo_lightning.utils.files import check_writable


def export(arguments: Sequence[str]) -> None:
    """Export a checkpoint.

    Raises:
        InputError: for a checkpoint that cannot be read, and where there is nothing to merge.
    """
    options = parser().parse_args(arguments)
    if options.out is None and options.checkpoint is None:
        raise InputError("export: say what to write: --out DIR, --checkpoint FILE, or both")
    form = ExportForm(options.merged, options.dtype)
    run = run_settings(options.config, "export")
    if options.out is not None:
        check_target(options.out)
        check_writable("export --out", options.out, directory=True)
    if options.checkpoint is not None:
        check_writable("export --checkpoint", options.checkpoint, directory=False)
    with single_file(options.source, options.checkpoint) as file:
        if options.out is not None:
            _write(file, run, options.out, form, _card(options.config))


def _card(config: Path | None) -> Card | None:
    """Return what the record beside a run's config says of it; None where there is none that can be read."""
    if config is None:
        return None
    record = RunRecord(config.parent)
    try:
        facts, points = read_document(record.facts), read_rows(record.points)
    except (InputError, RecursionError):  # a record is of help, and no part of the model
        return None
    metrics = {name: value for point in points for name, value in point.items() if isinstance(value, float)}
    return None if facts is None else (facts, metrics)


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
