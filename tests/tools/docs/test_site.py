"""The site builds strictly and without network; it has every public name, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import socket
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import dpo_lightning
from dpo_lightning import callbacks, losses
from tests.docs.blocks import ROOT
from tools.docs.site import API, COPIED, copied_page, exported, linked, on_page_content, on_page_markdown


class Page(HTMLParser):
    """What a page names: its ids, the links, and what a browser loads by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preconnect"):
            self.loaded.append(given.get("href", ""))
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.loaded.append(given["src"])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does, with no network."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("the build of the site asks the network")

    place = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(sys, "path", [str(ROOT), *sys.path])
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(place), strict=True))
    return place


@pytest.fixture(scope="module")
def pages(built: Path) -> dict[str, Page]:
    return {
        file.relative_to(built).as_posix(): Page(file.read_text(encoding="utf-8"))
        for file in built.rglob("*.html")
        if file.name != "404.html"
    }


def nav_of(entries: Any) -> list[str]:
    if isinstance(entries, str):
        return [entries]
    inside = entries.values() if isinstance(entries, dict) else entries
    return [page for entry in inside for page in nav_of(entry)]


def settings() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def test_every_page_is_in_the_nav_once_and_every_entry_is_a_page() -> None:
    written = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    made = [*COPIED.values(), *(f"api/{room}.md" for room in API)]
    assert sorted(nav_of(settings()["nav"])) == sorted(written + made)


def test_every_public_name_is_on_an_api_page(built: Path) -> None:
    raw = (built / "objects.inv").read_bytes()
    inventory = zlib.decompress(raw[raw.index(b"zlib.\n") + len(b"zlib.\n") :]).decode()
    documented = {line.split()[0] for line in inventory.splitlines()}
    paths = {name: path for names in exported().values() for name, path in names.items()}
    for module in (dpo_lightning, callbacks, losses):
        for name in module.__all__:
            if not isinstance(getattr(module, name), ModuleType) or name == "schedules":
                assert paths[name] in documented, f"{module.__name__}.{name} is on no page of the API"


def test_no_link_inside_of_the_site_is_broken(pages: dict[str, Page], built: Path) -> None:
    broken = []
    for name, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (built / name).parent / unquote(parts.path) if parts.path else built / name
            found = target.resolve().relative_to(built.resolve()).as_posix()
            known = found not in pages or unquote(parts.fragment) in pages[found].ids | {""}
            if not (target.exists() and known):
                broken.append((name, link))
    assert broken == []


def test_a_page_loads_nothing_from_elsewhere(pages: dict[str, Page], built: Path) -> None:
    assert [(name, url) for name, page in pages.items() for url in page.loaded if urlsplit(url).netloc] == []
    styles = "".join(file.read_text(encoding="utf-8") for file in built.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)\"']+", styles) == []


def test_the_first_page_is_the_readme() -> None:
    page = copied_page("README.md")
    assert "](docs/" not in page
    assert "](changelog.md)" in page
    assert (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[0] == page.splitlines()[0]


def test_links_to_files_that_the_site_lacks_are_words() -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="faq.md"), meta={})
    given = "[the licence](LICENSE), [a config](../configs/recipes/dpo_paper_hh.yaml), [a page](data.md)"
    assert on_page_markdown(given, page=page) == "the licence, a config, [a page](data.md)"
    assert page.meta == {}


def test_a_page_that_is_named_is_a_link() -> None:
    given = "see `docs/lab.md`, `docs/none.md`\n\n```text\n`docs/lab.md`\n```\n"
    assert linked(given, "faq.md") == given.replace("see `docs/lab.md`", "see [`docs/lab.md`](lab.md)")
    assert linked("`docs/lab.md`", "tutorials/kto.md") == "[`docs/lab.md`](../lab.md)"
    assert linked("`docs/lab.md`", "lab.md") == "`docs/lab.md`"


def test_tables_scroll_by_themselves() -> None:
    assert on_page_content("<table><tr></tr></table>") == '<div class="wide"><table><tr></tr></table></div>'
