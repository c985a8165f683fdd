"""Small things in the place of what pages name: models of the hub, files of rows, and files of earlier steps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.docs.blocks import ROOT
from tests.helpers.runs import WORDS
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

CHAT_MODELS = ("Qwen/Qwen2.5-0.5B-Instruct", "my/model", "path/to/model")
BASE_MODELS = ("Qwen/Qwen2.5-0.5B",)
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
Row = dict[str, Any]


def _pair(number: int) -> tuple[str, str, str]:
    prompt = f"the {WORDS[number % 8]} {WORDS[number // 8 % 8]}:"
    return prompt, f" please {'abcdefg'[number % 7]}", f" no {'hijkl'[number % 5]}!"


def pair(number: int) -> Row:
    """A pair of texts, with the columns that pages name beside it."""
    prompt, chosen, rejected = _pair(number)
    scores = {"score_chosen": 2.0 + number % 3, "score_rejected": 1.0}
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **scores}


def chat(number: int) -> Row:
    """A pair of answers to a conversation."""
    prompt, chosen, rejected = _pair(number)
    answers = {
        side: [{"role": "assistant", "content": text}] for side, text in (("chosen", chosen), ("rejected", rejected))
    }
    return {"prompt": [{"role": "user", "content": prompt}], **answers}


def rated(number: int) -> Row:
    """A completion that a user liked, or did not."""
    prompt, chosen, rejected = _pair(number // 2)
    liked = number % 2 == 0
    return {"prompt": prompt, "completion": chosen if liked else rejected, "label": liked}


def ranked(number: int) -> Row:
    """Four completions with scores."""
    prompt, chosen, rejected = _pair(number)
    return {"prompt": prompt, "completions": [chosen, " well", rejected, " go"], "scores": [3.0, 2.0, 1.0, 0.0]}


def bench(number: int) -> Row:
    """A pair of a benchmark, with its subset."""
    prompt, chosen, rejected = _pair(number)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "subset": ("kind", "short")[number % 2]}


def candidates(number: int) -> Row:
    """Completions without scores."""
    row = ranked(number)
    return {name: row[name] for name in ("prompt", "completions")}


def question(number: int) -> Row:
    """A pair whose prompt has another name."""
    prompt, chosen, rejected = _pair(number)
    return {"question": prompt, "chosen": chosen, "rejected": rejected, "score_chosen": 2.0, "score_rejected": 1.0}


def ticket(number: int) -> Row:
    """A row that no format of the package reads."""
    prompt, chosen, rejected = _pair(number)
    return {"ticket": {"subject": prompt, "id": number}, "agents": {"senior": chosen, "junior": rejected}}


def only_prompt(number: int) -> Row:
    """A prompt without a completion."""
    return {"prompt": _pair(number)[0]}


FILES: dict[str, Callable[[int], Row]] = {
    "pairs.jsonl": pair,
    "held_out.jsonl": pair,
    "helpful.jsonl": pair,
    "rare.jsonl": pair,
    "chats.jsonl": chat,
    "feedback.jsonl": rated,
    "ranked.jsonl": ranked,
    "bench.jsonl": bench,
    "candidates.jsonl": candidates,
    "harmless.jsonl": question,
    "tickets.jsonl": ticket,
    "prompts.jsonl": only_prompt,
    "asked.jsonl": only_prompt,
}
"""Files that pages name, each with what makes its rows."""


def models(place: Path) -> Path:
    """Make the models under the names of the hub, once for all pages."""
    for name in (*CHAT_MODELS, *BASE_MODELS):
        tiny_llama().save_pretrained(place / name)
        template = {"chat_template": TEMPLATE} if name in CHAT_MODELS else {}
        tiny_tokenizer(**template).save_pretrained(place / name)
    return place


def furnish(here: Path, made: Path, rows: int = 40) -> None:
    """Put everything that pages name into a directory: a name of the hub is then a directory, which comes first."""
    for owner in made.iterdir():
        shutil.copytree(owner, here / owner.name)
    for name, row in FILES.items():
        write(here / name, [row(number) for number in range(rows)])
    (here / "chat.jinja").write_text(TEMPLATE)
    (here / "run.yaml").write_text(RUN)
    for name in ("configs", "examples"):
        (here / name).symlink_to(ROOT / name)


RUN = """\
model:
  policy: Qwen/Qwen2.5-0.5B
  lora: {r: 4}
  optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 1.0e-4}}
data:
  dataset: pairs.jsonl
  val_split: 0.1
  batch_pairs: 8
trainer:
  max_epochs: 1
  callbacks:
    - {class_path: ResumableCheckpoint, init_args: {dirpath: checkpoints}}
    - {class_path: Export, init_args: {path: adapter, merged_path: model}}
"""
"""The run of a page that shows none of its own; it leaves what later pages name."""

LEFT = {
    "checkpoints": "checkpoints",
    "adapter": "adapter",
    "model": "model",
    "lightning_logs": "lightning_logs",
    "runs/a": "lightning_logs/version_0",
    "runs/b": "lightning_logs/version_0",
}
"""Directories that a command may name on a page that has not made them, and where an earlier run left them."""


def make_way(words: list[str]) -> None:
    """Take the run that stands for a page's own away, where the page writes one to its place."""
    out = Path(words[words.index("--out") + 1]) if "--out" in words else Path("run.yaml")
    if out.is_file() and out.read_text() == RUN:
        out.unlink()


def bring(word: str, earlier: Callable[[], Path]) -> None:
    """Copy what an earlier run has left to where a word or the value of a key names it, unless it is there."""
    named = word.partition("=")[2] if word.startswith("--") else word
    place = Path("checkpoints") if named == "last" else Path(named).parent if named.endswith(".ckpt") else Path(named)
    if str(place) in LEFT and not place.exists():
        shutil.copytree(earlier() / LEFT[str(place)], place)


def write(path: Path, rows: list[Row]) -> None:
    """Write rows as JSON lines."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
