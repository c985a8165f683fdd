"""Writes docs/from-trl.md from the tables of the converter: `python -m tools.docs.from_trl`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from dpo_lightning.cli.ways_over.conversion import convert
from dpo_lightning.cli.ways_over.fields import Fate, Field
from dpo_lightning.cli.ways_over.losses import LOSSES
from dpo_lightning.cli.ways_over.told import table
from dpo_lightning.cli.ways_over.tree import written
from dpo_lightning.cli.ways_over.trl import TOOL
from dpo_lightning.cli.ways_over.trl.fields import CLASSES, EARLIER

DOCUMENT = Path(__file__).parents[2] / "docs" / "from-trl.md"

EXAMPLE = """\
model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct
dataset_name: pairs.jsonl
loss_type: ipo
beta: 0.1
label_smoothing: 0.1
learning_rate: 5.0e-6
lr_scheduler_type: cosine
warmup_steps: 0.1
num_train_epochs: 1
per_device_train_batch_size: 4
gradient_accumulation_steps: 4
use_peft: true
lora_r: 32
lora_target_modules: all-linear
max_length: 512
output_dir: runs/ipo
"""

_INTRODUCTION = """\
# From TRL

A config of `trl dpo --config`, or a recipe of the alignment handbook, becomes a config of a run. Written by
`python -m tools.docs.from_trl` from the tables that convert; `tests/tools/docs/test_from_trl.py` holds it to them.

```text title="dpo.yaml"
{example}```

```bash
dpo-lightning import trl dpo.yaml --out ipo.yaml
```

It tells what means something else here, and what is left out:

```text
{told}
```

The config names the fields of theirs beside each line. Defaults of TRL's that a run depends on are written out:

```yaml title="ipo.yaml"
{config}```

<!-- not run: a flag of a run -->
```bash
dpo-lightning fit --config ipo.yaml
```

- The first 20 losses of three recipes of the handbook and of TRL's LoRA command are those of `DPOTrainer` 1.16.0, to
  1e-4 (`tests/parity/test_from_trl.py`), on the same rows in the same order.
- A field that is not known, or has no equal here, is refused, all of them in one line. `--leave_out FIELD` drops one,
  and can be given several times.
- Files of accelerate are not read. Take one of `configs/hardware/` beside the config ([several GPUs](several-gpus.md)).
- The order of rows is another: both shuffle by the seed, each in its own way.
- A warm-up of TRL begins with a step at rate 0. `TransformersSchedule` has the very same rates.
"""

_FATES = {
    Fate.SAME: "",
    Fate.DIFFERS: "",
    Fate.NO_EFFECT_THERE: "no effect there: ",
    Fate.NO_EFFECT_HERE: "not needed: ",
    Fate.REFUSED: "refused: ",
}
_MEANING = {
    "DPOConfig": "with what it has of TrainingArguments",
    "ModelConfig": "the model and its adapters",
    "ScriptArguments": "the data of the script",
    "DatasetMixtureConfig": "several sets of data",
    "DatasetConfig": "each set of `datasets`",
}


def document() -> str:
    """Return the page."""
    draft = convert(TOOL, yaml.safe_load(EXAMPLE), "dpo.yaml")
    head = _INTRODUCTION.format(example=EXAMPLE, told="\n".join(table(TOOL, draft, ())), config=written(draft.tree, ()))
    return "\n".join([head, *_losses(), *_classes(), *_earlier()]) + "\n"


def _losses() -> Iterator[str]:
    yield "## Losses"
    yield ""
    yield "[Where TRL differs](objectives.md#where-trl-1160-differs) says which are not those of their papers."
    yield ""
    yield "| `loss_type` there | class here |"
    yield "|---|---|"
    for name, loss in LOSSES.items():
        kind, _, settings = str(loss).partition(" with ")
        yield f"| `{name}` | `{kind}`{f' with `{settings}`' if settings else ''} |"
    yield ""
    yield "Several losses with `loss_weights` are one objective, `Weighted`."
    yield ""


def _classes() -> Iterator[str]:
    count = sum(map(len, CLASSES.values()))
    yield "## All fields"
    yield ""
    yield f"The {count} fields of TRL 1.16.0. Where the last column is empty, the meaning is the same."
    for name, fields in CLASSES.items():
        yield ""
        yield f"### {name}"
        yield ""
        yield f"{len(fields)} fields, {_MEANING[name]}."
        yield ""
        yield from fields_table(fields)
    yield ""


def _earlier() -> Iterator[str]:
    yield "## Fields of earlier versions"
    yield ""
    names = ", ".join(f"`{was}` is `{now}`" for was, now in TOOL.earlier.items())
    yield "Recipes still have them. Some have another name now:"
    yield from textwrap.wrap(f"{names}.", 120, break_on_hyphens=False)
    yield ""
    yield from fields_table(EARLIER)


def fields_table(fields: Sequence[Field]) -> Iterator[str]:
    """Yield the lines of a table of fields."""
    yield "| there | default there | here | what differs |"
    yield "|---|---|---|---|"
    for each in fields:
        default = "" if each.default is None else f"`{_shown(each.default)}`"
        yield f"| `{each.name}` | {default} | {_code(each.here)} | {_said(each)} |"


def _shown(value: object) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True)).removesuffix("\n...\n").strip()


def _code(here: str) -> str:
    key, _, more = here.partition(",")
    return f"`{key}`{f',{more}' if more else ''}" if key else ""


def _said(each: Field) -> str:
    return (_FATES[each.fate] + each.said).replace("|", "\\|")


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
