"""The fenced blocks of the README and of every page of docs/, in the order of the page."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]
REASONS = {
    "a flag of a run": "it is parsed with the parser of the command; other pages run such runs",
    "needs GPUs": "it is parsed with the parser of the command",
    "needs a cluster": "what it starts is looked up",
    "needs bitsandbytes on a GPU": "it is parsed with the parser of the command",
    "needs the hub": "it is parsed with the parser of the command",
}
"""Why a block may be marked `<!-- not run: reason -->` in the line before it, and what is done instead."""

_BLOCK = re.compile(
    r"(?:^[ ]*<!-- not run: (?P<reason>[^>]+?) -->\n)?"
    r"^(?P<indent>[ ]*)```(?P<language>[\w-]*)(?P<rest>[^\n]*)\n(?P<text>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A fenced block: where it stands, what it is, and why it is not run."""

    page: str
    line: int
    language: str
    title: str
    reason: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page, given by its path in the repository."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        title = re.search(r'title="([^"]+)"', match["rest"])
        line = text.count("\n", 0, match.start("language")) + 1
        inner = textwrap.dedent(match["text"])
        found.append(Block(page, line, match["language"], title[1] if title else "", match["reason"] or "", inner))
    return found


def commands_in(script: str) -> list[str]:
    """Return the command lines of a script, continued ones in one, without comments and empty ones."""
    lines = script.replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"(^|\s)#.*$", "", line).strip() for line in lines) if line]
