"""`dpo-lightning export`: a checkpoint as a Hugging Face directory, or shards as a single file."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from torch.optim import AdamW

from dpo_lightning import SFT, Constant, PreferenceModule
from dpo_lightning.checkpoints import MANIFEST, DurableCheckpointIO, damage
from dpo_lightning.checkpoints.sharded import consolidated
from dpo_lightning.cli.parsers.export import parser
from dpo_lightning.data.tokenize.loading import load_tokenizer
from dpo_lightning.errors import InputError
from dpo_lightning.policy.export import ExportForm, check_target, export_problem, write_model
from dpo_lightning.reference import NoReference
from dpo_lightning.utils.files import check_writable
from dpo_lightning.utils.secrets import without_masks
from dpo_lightning.utils.text import one_line, shown


def export(arguments: Sequence[str]) -> None:
    """Export a checkpoint.

    Raises:
        InputError: for a checkpoint that cannot be read, and where there is nothing to merge.
    """
    options = parser().parse_args(arguments)
    if options.out is None and options.checkpoint is None:
        raise InputError("export: say what to write: --out DIR, --checkpoint FILE, or both")
    form = ExportForm(options.merged, options.dtype)
    run = _run_settings(options.config)
    if options.out is not None:
        check_target(options.out)
        check_writable("export --out", options.out, directory=True)
    if options.checkpoint is not None:
        check_writable("export --checkpoint", options.checkpoint, directory=False)
    with _single_file(options.source, options.checkpoint) as file:
        if options.out is not None:
            _write(file, run, options.out, form)


@contextmanager
def _single_file(source: Path, target: Path | None) -> Iterator[Path]:
    """Yield the checkpoint as a file, which is temporary unless it was asked for."""
    if not source.is_dir():
        if target is not None:
            raise InputError(f"export --checkpoint: {source} is no directory of shards: leave the option out")
        yield source
        return
    if (source / MANIFEST).is_file() and (found := damage(source)):
        raise InputError(f"checkpoint {source}: {found}: take another one")
    saved = consolidated(source)
    with tempfile.TemporaryDirectory(dir=source.parent) as scratch:
        file = target or Path(scratch) / source.name
        DurableCheckpointIO().save_checkpoint(saved, file)
        del saved
        if target is not None:
            print(shown(f"checkpoint for one process in {file}"))
        yield file


def _write(file: Path, run: Mapping[str, Any], out: str, form: ExportForm) -> None:
    # None is asked for, and a checkpoint may hold none, or name classes that are not here.
    unread: dict[str, Any] = {"objective": SFT(), "reference": NoReference()}
    unread |= {"optimizer": AdamW, "schedule": Constant()}
    module = PreferenceModule.load_from_checkpoint(file, map_location="cpu", **unread, **run["model"])
    check_target(out, module.names_read())
    module.to(_dtype(file))
    if problem := export_problem(module.policy, form, module.lost_base()):
        raise InputError(f"export {'--merged' if form.merged else '--out'}: {problem}")
    write_model(module.policy, module.original_config(), _tokenizer(run["data"], module), out, form)


def _dtype(file: Path) -> torch.dtype:
    """Return the dtype of the weights in the run."""
    state = torch.load(file, map_location="cpu", mmap=True, weights_only=True)["state_dict"]
    return next(value.dtype for value in state.values() if value.is_floating_point())


def _tokenizer(data: Mapping[str, Any], module: PreferenceModule) -> Any:
    """Load the run's tokenizer: the config's, or else the policy's own; None where there is none."""
    source = data.get("tokenizer") or module.policy_name
    try:
        return load_tokenizer(source or "", data.get("chat_template"), data.get("chat_template_kwargs"))
    except InputError as error:
        if data.get("tokenizer"):
            raise
        print(shown(f"no tokenizer beside the model: {error}"), file=sys.stderr)
        return None


def _run_settings(config: Path | None) -> dict[str, dict[str, Any]]:
    """Read a config's settings of policy and tokenizer, by section."""
    if config is None:
        return {"model": {}, "data": {}}
    try:
        sections = yaml.safe_load(config.read_text(encoding="utf-8"))
        model, data = (_arguments(sections.get(name) or {}) for name in ("model", "data"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, TypeError) as error:
        raise InputError(f"export --config {config}: {one_line(error, 200)}") from None
    kept = {name: model[name] for name in ("policy", "model_kwargs") if name in model}
    if isinstance(kept.get("model_kwargs"), Mapping):
        kept["model_kwargs"] = without_masks(kept["model_kwargs"])
    return {
        "model": kept,
        "data": {name: data.get(name) for name in ("tokenizer", "chat_template", "chat_template_kwargs")},
    }


def _arguments(section: Mapping[str, Any]) -> Mapping[str, Any]:
    return section.get("init_args") or {} if "class_path" in section else section
