"""Arguments of `dpo-lightning generate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser

_EXAMPLES = """\
examples:
  dpo-lightning generate runs/run/model --prompt "the rain is here"
  dpo-lightning generate runs/run/checkpoints/last.ckpt --prompt Hi --reference
  dpo-lightning generate runs/run/model --prompts asked.jsonl --out said.jsonl
  dpo-lightning generate --endpoint http://localhost:8000/v1 --model NAME \\
      --prompts asked.jsonl --samples 4 --out said.jsonl"""


def parser() -> argparse.ArgumentParser:
    """Return the parser; null stands for an option that only one kind of model reads, and that was not given."""
    parser = CommandParser(
        prog="dpo-lightning generate",
        description="Print what a policy says to prompts, or write it with --out.",
        examples=_EXAMPLES,
    )
    parser.add_argument("source", nargs="?", metavar="CHECKPOINT_OR_MODEL", help="a checkpoint, a model or an adapter")
    parser.add_argument(
        "--config", type=Path, metavar="RUN.yaml", help="the run's config: its policy, tokenizer and chat template"
    )
    parser.add_argument("--prompt", action="append", default=[], metavar="TEXT", help="a prompt; may be given again")
    parser.add_argument(
        "--prompts", type=Path, metavar="FILE", help="rows of JSON with `prompt` or `messages`, or preference rows"
    )
    parser.add_argument("--plain", action="store_true", help="continue the texts as they are, without chat template")
    parser.add_argument("--max_new_tokens", type=int, default=256, help="most tokens of a completion")
    parser.add_argument("--temperature", type=float, default=1.0, help="0 takes the likeliest token each time")
    parser.add_argument("--top_p", type=float, default=1.0, help="sample from the likeliest tokens of this share alone")
    parser.add_argument("--samples", type=int, default=1, help="completions of each prompt")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples")
    parser.add_argument("--reference", action="store_true", help="print the reference's completions too")
    parser.add_argument("--json", action="store_true", help="print a row of JSON for each prompt")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write rows that `score` reads; goes on where it was")
    parser.add_argument("--samples_at_once", type=int, metavar="N", help="completions sampled together, 32")
    _add_server(parser)
    return parser


def _add_server(parser: argparse.ArgumentParser) -> None:
    server = parser.add_argument_group("a server in place of the model")
    server.add_argument("--endpoint", metavar="URL", help="address of an OpenAI-compatible server, such as vLLM's")
    server.add_argument("--model", metavar="NAME", help="the model, as the server calls it")
    server.add_argument("--key_variable", metavar="NAME", help="environment variable with its key, OPENAI_API_KEY")
    server.add_argument("--requests_at_once", type=int, metavar="N", help="prompts that are asked together, 8")
    server.add_argument("--timeout", type=float, metavar="S", help="seconds to wait for an answer, 120")
