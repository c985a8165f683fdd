"""Writes docs/from-axolotl.md and docs/from-llamafactory.md from the tables of the converters.

`python -m tools.docs.from_others`
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from dpo_lightning.cli.ways_over.axolotl import fields as axolotl
from dpo_lightning.cli.ways_over.axolotl import of_data, of_model, of_run
from dpo_lightning.cli.ways_over.conversion import convert
from dpo_lightning.cli.ways_over.fields import Field
from dpo_lightning.cli.ways_over.llamafactory import fields as llama_factory
from dpo_lightning.cli.ways_over.told import table
from dpo_lightning.cli.ways_over.tools import tool_named
from tools.docs.from_trl import fields_table

DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Page:
    """A page on one tool.

    Args:
        tool: Its name in the command.
        title: Its name as its users write it.
        version: What was read.
        example: A config that is converted on the page.
        before: Files that the example reads, and text before it.
        points: What a reader must know.
        tables: Tables of fields by heading.
        context: What the example reads from a file, for the writer.
    """

    tool: str
    title: str
    version: str
    example: str
    before: str
    points: Sequence[str]
    tables: Mapping[str, Sequence[Field]]
    context: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """The page's file."""
        return DOCS / f"from-{self.tool}.md"


_AXOLOTL = """\
base_model: Qwen/Qwen2.5-0.5B-Instruct
rl: dpo
dpo_label_smoothing: 0.1
datasets:
  - path: pairs.jsonl
    type: chatml.prompt_pairs
val_set_size: 0.1
sequence_len: 512
adapter: lora
lora_r: 32
lora_alpha: 16
lora_dropout: 0.05
lora_target_linear: true
micro_batch_size: 2
gradient_accumulation_steps: 4
num_epochs: 1
optimizer: adamw_torch
learning_rate: 2.0e-5
warmup_ratio: 0.1
evals_per_epoch: 4
output_dir: runs/axolotl
"""

_LLAMA_FACTORY = """\
model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct
stage: dpo
do_train: true
finetuning_type: lora
lora_rank: 8
lora_dropout: 0.1
pref_loss: ipo
pref_beta: 0.1
dataset: pairs
template: qwen
cutoff_len: 512
learning_rate: 5.0e-6
num_train_epochs: 1
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
output_dir: runs/llamafactory
"""

_ENTRY = {
    "file_name": "../pairs.jsonl",
    "ranking": True,
    "columns": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
}

_INFO = """\
The data sets of its `dataset_info.json` are read where LLaMA-Factory reads it, in `data/` or in `dataset_dir`:

```text title="data/dataset_info.json"
{
  "pairs": {
    "file_name": "../pairs.jsonl",
    "ranking": true,
    "columns": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
  }
}
```

"""

PAGES = (
    Page(
        "axolotl",
        "axolotl",
        "axolotl 0.18.0 (commit 067b021c), on TRL 1.8.0",
        _AXOLOTL,
        "",
        (
            "**Losses.** axolotl trains with TRL's trainers: what TRL does not read has no effect there either "
            "([from TRL](from-trl.md)).",
            "**Templates.** `chatml.*` and `llama3.*` are strings of axolotl; a chat template that "
            "writes the same is put "
            "beside the config. So is `chat_template: chatml` and `llama3`. Another name is a file of "
            "axolotl's, which is "
            "told; without it, the tokenizer's own template writes the messages.",
            "**EOS.** TRL puts one behind every text, so `data.eos: always`.",
            "**Long rows** are left out there, and lose the end of their completions here.",
            "**Keys** that axolotl does not know it drops without a word. Here they are refused, with "
            "the nearest name.",
        ),
        {
            "Objective, data and templates": of_data.OF_DATA,
            "Each entry of `datasets` and `test_datasets`": of_data.OF_DATASET,
            "`type`, where it is a mapping": of_data.OF_TYPE,
            "Model, tokenizer and adapters": of_model.OF_MODEL,
            "`special_tokens`": of_model.OF_SPECIAL_TOKENS,
            "The run": of_run.OF_RUN,
            "Fields of plugins": of_run.OF_PLUGINS,
            "`trl`": of_data.OF_TRL,
        },
        {},
    ),
    Page(
        "llamafactory",
        "LLaMA-Factory",
        "LLaMA-Factory 0.9.6.dev0 (commit ff6d4d12), with TRL 0.24.0, the newest that it takes",
        _LLAMA_FACTORY,
        _INFO,
        (
            "**Losses.** Its DPO trainer calls `dpo_loss` of TRL with log-probs alone. From TRL 0.20 "
            "on that function has "
            "the loss as an argument, whose default is sigmoid: `pref_loss: hinge`, `ipo` and "
            "`kto_pair` train by sigmoid "
            "there. `orpo` and `simpo` are its own code. What is computed is converted, and what was meant is told.",
            "**Likelihood.** `pref_ftx` is the mean over pairs of the chosen completion's nats per "
            "token: `SFT` beside the "
            "loss, in `Weighted`.",
            "**Templates** are strings of its own. `chatml`, `qwen3_nothink` and `llama3` are put beside the config as "
            "Jinja; of another one it is told that the tokenizer's template takes its place.",
            "**Long rows** are cut in prompt and completion by their shares there, and at the completion's end here.",
            "**Configs of the v1 trainer**, with `model_class`, are another format, and refused.",
        ),
        llama_factory.CLASSES,
        {"dataset_dir": {"pairs": _ENTRY}},
    ),
)
"""The pages."""


def document(page: Page) -> str:
    """Return a page."""
    return "\n".join([*_head(page), *_tables(page)]) + "\n"


def _head(page: Page) -> Iterator[str]:
    tool = tool_named(page.tool)
    draft = convert(tool, {**yaml.safe_load(page.example), **page.context}, "theirs.yaml")
    yield f"# From {page.title}"
    yield ""
    said = (
        f"A preference config of {page.title} becomes a config of a run. Written by `python -m tools.docs.from_others` "
        f"from the tables that convert, which are of {page.version}."
    )
    yield from textwrap.wrap(said, 120, break_on_hyphens=False)
    yield ""
    yield f'{page.before}```text title="theirs.yaml"\n{page.example}```'
    yield ""
    yield f"```bash\ndpo-lightning import {page.tool} theirs.yaml --out ours.yaml\n```"
    yield ""
    yield "It tells what means something else here, and what is left out:"
    yield ""
    yield "```text"
    yield from table(tool, draft, ())
    yield "```"
    yield ""
    yield "What is left in `ours.yaml` names the fields of theirs beside each"
    yield "line. A field that is not known, or has no equal"
    yield "here, is refused, all of them in one line; `--leave_out FIELD` drops one."
    yield ""
    for point in page.points:
        yield from textwrap.wrap(
            f"* {point}", 120, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
        )
    yield ""


def _tables(page: Page) -> Iterator[str]:
    count = sum(map(len, page.tables.values()))
    yield "## All fields"
    yield ""
    yield f"{count} fields. Where the last column is empty, the meaning is the same."
    for heading, fields in page.tables.items():
        yield ""
        yield f"### {heading}"
        yield ""
        yield from fields_table(fields)


FIELDS = {"axolotl": axolotl.FIELDS, "llamafactory": llama_factory.FIELDS}
"""The fields that a config may have, by tool."""


if __name__ == "__main__":
    for each in PAGES:
        each.path.write_text(document(each), encoding="utf-8")
