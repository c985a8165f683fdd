"""What mkdocs does not do by itself: pages of the API, and from the README, the changelog and CONTRIBUTING.md.

mkdocs.yml names this file among its hooks. README.md is the first page of the site, with its links turned to the other
pages. The pages of the API are made from the stub that names what the package exports, so a new name appears by itself.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "dpo_lightning"
COPIED = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
# Files of the repository that pages link to; the site has no copy of them, so their links become plain words.
_PLACES = "benchmarks|configs|examples|tests|tools|dpo_lightning|LICENSE"
_OUTSIDE = re.compile(rf"\[([^\]]+)\]\((?:\.\./)*(?:{_PLACES})[^)]*\)")
_NAMED = re.compile(r"(?<!\[)`docs/(?P<page>[\w/-]+\.md)`")
WIDE = {
    f"{name}.md"
    for name in ("architectures", "chat-templates", "doctor", "formats", "lightning", "objectives", "reliability")
}
"""Pages whose tables get the room of the table of contents."""

API = {
    "module": ("The module", "`PreferenceModule`, a LightningModule."),
    "data": ("Data", "The DataModule, formats of rows, sources, orders and cleaning."),
    "losses": ("Objectives", "Objectives, what they are made of, and the losses as pure functions."),
    "reference": ("References", "What the policy is compared with."),
    "callbacks": ("Callbacks", "Side effects of a run, and the checks that every run gets."),
    "policy": ("Adapters", "Low-rank adapters of the policy."),
    "training": ("Schedules", "The learning rate over the optimizer steps."),
    "logprobs": ("Log-probs", "Log-probs of the scored tokens, for a module of your own."),
    "attention": ("Attention", "FlashAttention 3 in place of torch's own kernel."),
    "batch": ("Batches", "Tokenised examples, and the batches that they become."),
    "report": ("Loggers", "Curves as a picture."),
    "errors": ("Errors", "What the package raises."),
}


def exported() -> dict[str, dict[str, str]]:
    """Return for each room its exported names, and the path by which each is documented."""
    rooms: dict[str, dict[str, str]] = {room: {} for room in API}
    listed = _listed(PACKAGE / "__init__.pyi")
    for place, name in _imports(PACKAGE / "__init__.pyi"):
        if place and name in listed:
            rooms[place.partition(".")[0]][name] = f"dpo_lightning.{name}"
    for room in ("callbacks", "losses"):
        start = PACKAGE / room / "__init__.py"
        listed = _listed(start)
        for place, name in _imports(start):
            if name in listed and name not in rooms[room]:
                rooms[room][name] = f"{place}.{name}"  # a function may have its module's name, which would hide it
        rooms[room] |= {name: f"dpo_lightning.{room}.{name}" for name in listed if name not in rooms[room]}
    rooms["losses"]["dpo"] = "dpo_lightning.losses.dpo.dpo"
    return rooms


def api_page(room: str, names: dict[str, str]) -> str:
    """Return the page of a room, as Markdown that mkdocstrings fills."""
    title, purpose = API[room]
    ordered = sorted(names, key=lambda name: (name.islower(), name.lower()))
    return f"# {title}\n\n{purpose}\n\n" + "\n\n".join(f"::: {names[name]}" for name in ordered) + "\n"


def copied_page(name: str) -> str:
    """Return a page that is a file of the repository's root, with the links of its new place."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for original, page in COPIED.items():
        text = text.replace(f"]({original}", f"]({page}")
    return re.sub(r"\]\(docs/", "](", text)


def _imports(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the module and the name of everything that a file imports from its package."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.module or "", alias.asname or alias.name


def _listed(file: Path) -> set[str]:
    """Return what a file's `__all__` lists."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return set(ast.literal_eval(node.value))
    raise ValueError(f"{file} has no __all__")


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File  # only where mkdocs is installed, which calls this

    pages = {page: copied_page(name) for name, page in COPIED.items()}
    pages |= {f"api/{room}.md": api_page(room, names) for room, names in exported().items()}
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Turn links to files outside of the site into words, and pages that are named into links; leave wide ones room."""
    here = page.file.src_uri
    if here in WIDE:
        page.meta.setdefault("hide", []).append("toc")
    return linked(_OUTSIDE.sub(r"\1", markdown), here)


def linked(markdown: str, here: str) -> str:
    """Make links of pages that are named by their path in the repository, as `docs/lab.md`, outside of code blocks."""

    def link(found: re.Match[str]) -> str:
        if found["page"] == here or not (ROOT / "docs" / found["page"]).is_file():
            return found[0]
        return f"[`{found[0].strip('`')}`]({'../' * here.count('/')}{found['page']})"

    parts = re.split(r"(^```.*?^```)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else _NAMED.sub(link, part) for part in parts)


def on_page_content(html: str, **_: Any) -> str:
    """Give tables of pages a frame in which they scroll on a narrow screen."""
    return re.sub(r"<table>(.*?)</table>", r'<div class="wide"><table>\1</table></div>', html, flags=re.DOTALL)
