"""Arguments of `dpo-lightning init`."""

from __future__ import annotations

from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser

_EXAMPLES = """\
examples:
  dpo-lightning init --model Qwen/Qwen2.5-0.5B-Instruct --data pairs.jsonl
  dpo-lightning init --model DIR --data feedback.jsonl --method kto --lora

It looks at the model's config and at the data, trains nothing, and ends with
the commands that come next."""


def parser() -> CommandParser:
    """Return the parser."""
    parser = CommandParser(
        prog="dpo-lightning init",
        usage="dpo-lightning init --model NAME --data FILE [--method dpo] [--lora | --full | --qlora] [--out run.yaml]",
        description="Write a starting config for a model, data and a method, with a reason beside\neach value.",
        examples=_EXAMPLES,
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="directory or hub name of a causal model")
    parser.add_argument("--data", required=True, metavar="FILE", help="file, directory or hub name of preference data")
    parser.add_argument(
        "--method",
        metavar="NAME",
        help="an objective by its name here or in TRL, as dpo, simpo; default: DPO, or KTO for labelled completions",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--lora", action="store_true", help="train adapters; the default from 2 billion parameters on")
    how.add_argument("--full", action="store_true", help="train all weights")
    how.add_argument("--qlora", action="store_true", help="train adapters on a base in 4 bits; on a CPU for trying")
    parser.add_argument("--out", type=Path, default=Path("run.yaml"), metavar="FILE", help="default: %(default)s")
    return parser
