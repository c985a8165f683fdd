"""Arguments of `dpo-lightning export`."""

from __future__ import annotations

from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser

_EXAMPLES = """\
examples:
  dpo-lightning export checkpoints/step=100.ckpt --config run.yaml --out model
  dpo-lightning export checkpoints/step=100.ckpt --out model --merged

The model is loaded again and compared before it takes its name."""


def parser() -> CommandParser:
    """Return the parser."""
    parser = CommandParser(
        prog="dpo-lightning export",
        description="Turn a checkpoint, a file or a directory of shards, into a Hugging Face model.",
        examples=_EXAMPLES,
    )
    parser.add_argument("source", type=Path, metavar="CHECKPOINT", help="the checkpoint")
    parser.add_argument("--out", metavar="DIR", help="directory to write: the model, or with LoRA the adapter")
    parser.add_argument("--merged", action="store_true", help="with LoRA, write the merged weights instead")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16, of the weights; default: that of the run")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="of shards, also write a checkpoint for one process"
    )
    parser.add_argument(
        "--config", type=Path, metavar="RUN.yaml", help="the run's config: its policy, tokenizer and chat template"
    )
    return parser
