"""Arguments of `dpo-lightning inspect`."""

from __future__ import annotations

from dpo_lightning.cli.commands.arguments import CommandParser

MOST_ROWS = 100_000
"""Rows of a split that are looked at, unless another number is given."""

OF_A_FILE = ("tokenizer", "chat_template", "max_length")
"""Settings of `data` that a file can be given with."""

_EXAMPLES = """\
examples:
  dpo-lightning inspect pairs.jsonl
  dpo-lightning inspect pairs.jsonl --tokenizer Qwen/Qwen2.5-0.5B-Instruct
  dpo-lightning inspect --config run.yaml --html report.html

Settings of fit may follow (dpo-lightning fit --help). The findings and what to
do about each are in docs/inspect.md."""


def parser(of_file: bool = True) -> CommandParser:
    """Return the parser, with the options of a file or without them."""
    parser = CommandParser(
        prog="dpo-lightning inspect",
        usage="dpo-lightning inspect (FILE | --config RUN.yaml) [options] [--data.KEY=VALUE]",
        description="Look at the data before training: what is read and dropped, repeats,\n"
        "shortcuts, lengths. Exits 0 where nothing is above information, 3 with\n"
        "warnings, 4 with errors.",
        examples=_EXAMPLES,
    )
    parser.add_argument("--html", metavar="PAGE", help="also write the report as one HTML file")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON document instead")
    parser.add_argument(
        "--most_rows",
        type=int,
        default=MOST_ROWS,
        metavar="N",
        help="of more rows take a sample; default: %(default)s",
    )
    parser.add_argument(
        "--scored_rows",
        type=int,
        metavar="N",
        help="examples to score with the model: that of --model, 256 of them, or the config's policy, none by default",
    )
    file = parser.add_argument_group("of a file")
    file.add_argument("--model", metavar="DIR", help="a model that scores, and its tokenizer") if of_file else None
    for name in OF_A_FILE if of_file else ():
        file.add_argument(f"--{name}", help=f"as data.{name} of a config")
    return parser
