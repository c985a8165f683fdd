"""Arguments of `dpo-lightning export`."""

from __future__ import annotations

from pathlib import Path

from dpo_lightning.cli.commands.arguments import CommandParser

_EXAMPLES = """\
examples:
  dpo-lightning export checkpoints/step=100.ckpt --config run.yaml --out model
  dpo-lightning export checkpoints/step=100.ckpt --out model --merged
  dpo-lightning export runs/run --which best --out model --push_to user/model

The model is loaded again and compared before it takes its name."""


def parser() -> CommandParser:
    """Return the parser."""
    parser = CommandParser(
        prog="dpo-lightning export",
        description="Turn a checkpoint, a file or a directory of shards, into a Hugging Face model.",
        examples=_EXAMPLES,
    )
    parser.add_argument("source", type=Path, metavar="CHECKPOINT", help="the checkpoint, or a run's directory")
    parser.add_argument(
        "--which", choices=("last", "best"), help="of a run's directory: its last or its best checkpoint"
    )
    parser.add_argument("--out", metavar="DIR", help="directory to write: the model, or with LoRA the adapter")
    parser.add_argument("--merged", action="store_true", help="with LoRA, write the merged weights instead")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16, of the weights; default: that of the run")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="of shards, also write a checkpoint for one process"
    )
    parser.add_argument(
        "--config", type=Path, metavar="RUN.yaml", help="the run's config: its policy, tokenizer and chat template"
    )
    parser.add_argument("--samples", type=int, default=3, help="sampled prompts that the model card shows")
    parser.add_argument("--push_to", metavar="USER/MODEL", help="also push the model to this repository of the hub")
    parser.add_argument("--private", action="store_true", default=None, help="a repository that is made is private")
    parser.add_argument("--revision", metavar="BRANCH", help="branch of the repository")
    return parser
