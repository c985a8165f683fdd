"""How to load what was trained, and how to make it again."""

from __future__ import annotations

from collections.abc import Iterator

from dpo_lightning.report.markup import block, facts, text
from dpo_lightning.report.page.summary import machine
from dpo_lightning.report.paths import typed
from dpo_lightning.report.runs import Run, finite
from dpo_lightning.report.words import counted, loading_code, with_path
from dpo_lightning.utils.secrets import masked_command

_GENERATE = """\
inputs = tokenizer("Once upon a time", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=64)[0]))"""
_CHECKPOINT = """from dpo_lightning import PreferenceModule

module = PreferenceModule.load_from_checkpoint({path})
model = module.policy"""


def loading(run: Run) -> Iterator[str]:
    """Yield code that loads the export and the checkpoint, and the commands for what is not there yet."""
    export, checkpoint, config = (run.of("places", name) for name in ("export", "checkpoint", "config"))
    has_adapter = bool(run.of("model", "lora"))
    if export:
        yield f"<p>The trained {'adapter' if has_adapter else 'model'} is in {text(export)}:</p>"
        yield block(f"{loading_code(str(export), adapter=has_adapter)}\n{_GENERATE}")
    if checkpoint:
        yield f"<p>The checkpoint is {text(checkpoint)}:</p>"
        yield block(with_path(_CHECKPOINT, str(checkpoint)))
        if not export:
            of = f"--config {typed(config)} " if config else ""
            yield "<p>As a model for transformers:</p>"
            yield block(f"dpo-lightning export {typed(checkpoint)} {of}--out model")
    if not (export or checkpoint):
        yield (
            "<p>The record names neither an export nor a checkpoint: the callback <code>Export</code> writes the one, "
            "<code>trainer.enable_checkpointing: true</code> the other.</p>"
        )


def reproducing(run: Run) -> Iterator[str]:
    """Yield command, seed, versions, and fingerprints of data and model."""
    command = run.facts.get("command")
    if command:
        yield block(" ".join(map(typed, masked_command([*map(str, command)]))))
    else:
        yield "<p>The run was not started by the command, or its words are not known.</p>"
    versions = run.facts.get("versions") or {}
    yield facts(
        [
            ("config", run.of("places", "config")),
            ("seed", None if run.facts.get("seed") is None else str(run.facts["seed"])),
            ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
            ("machine", machine(run)),
            ("data", run.of("data", "source")),
            ("fingerprint of the data", run.of("data", "fingerprint")),
            ("model", run.of("model", "name")),
            ("fingerprint of the model", run.of("model", "fingerprint")),
        ]
    )


def cost_in_words(run: Run) -> Iterator[str]:
    """Yield time, tokens and peak memory as far as they are known."""
    seconds, step, peak = (finite(run.facts.get(key)) for key in ("seconds", "step", "memory_peak"))
    rows = [
        (
            "seconds a step",
            None if not seconds or not step else f"{seconds / step:.3g}, validation and samples included",
        ),
        ("peak memory", None if peak is None else f"{peak / 2**30:.2f} GiB"),
        ("tokens of the data", None if finite(run.of("data", "tokens")) is None else counted(run.of("data", "tokens"))),
    ]
    if any(value for _, value in rows):
        yield facts(rows)
