"""The page: one file that loads nothing, shows data as text and fits a phone; opened in a browser if there is one."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dpo_lightning import InputError
from dpo_lightning.data.inspect import Report
from dpo_lightning.data.inspect.page import page, write_page
from dpo_lightning.data.inspect.scores import ModelScores, ScoredExample
from tests.data.inspect.browser import BROWSER, drawn
from tests.data.inspect.common import clean_rows, survey

EVIL = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[31m\u202eevil\u200b" + "x" * 300
VOID = {"meta", "br", "hr"}


def report() -> Report:
    rows = [{**row, "chosen": row["chosen"] + EVIL, f"col{EVIL}": "x"} for row in clean_rows(40)]
    rows[3]["rejected"], rows[4]["chosen"] = "", None
    read = survey(rows, max_length=500)
    scores = ModelScores(f"tiny{EVIL}", [ScoredExample(each, [-1.0, -2.0]) for each in read.train.kept])
    return Report.of(read, scores)


class Outline(HTMLParser):
    """Elements and texts, every element closed where it should be."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_is_whole_and_loads_nothing():
    source = page(report())
    outline = Outline(source)
    assert outline.open == []
    assert not {tag for tag, _ in outline.tags} & {"script", "img", "link", "iframe", "object"}
    assert not [attrs for _, attrs in outline.tags if {"src", "href", "onerror", "onload"} & attrs.keys()]
    assert not re.search(r"url\(|@import|https?://", source)
    assert "default-src 'none'" in source


def test_markup_and_what_cannot_be_seen_is_text():
    source = page(report())
    shown = "".join(Outline(source).texts)
    assert "</pre><script>alert(1)</script>" in shown
    assert "<script>" not in source
    assert r"\x1b[31m\u202eevil\u200b" in shown
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u200b\u202e]", source)


def test_every_finding_and_split_is_there():
    full = report()
    shown = "".join(Outline(page(full)).texts)
    assert full.findings
    for finding in full.findings:
        assert finding.name in shown
    assert "Largest loss in nats" in shown
    assert "not trained" in shown


def test_columns_of_numbers_are_marked_as_such():
    outline = Outline(page(report()))
    names = [attrs["data-name"] for tag, attrs in outline.tags if tag == "td" and attrs.get("class") == "number"]
    assert {*names} == {"rows", "looked at", "refused", "examples", "kept", "tokens", "times the tree"}
    assert any(re.search(r"^chosen \(\d+ tokens trained\)$", each) for each in outline.texts)


def test_it_is_written_whole(tmp_path: Path):
    write_page(Report.of(survey(clean_rows(5))), tmp_path / "a" / "page.html")
    assert (tmp_path / "a" / "page.html").read_text(encoding="utf-8").endswith("</html>\n")
    with pytest.raises(InputError):
        write_page(Report.of(survey(clean_rows(5))), tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["page.html"]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_nothing_sticks_out_and_it_is_as_dark_as_the_system(width, scheme, tmp_path: Path):
    file = tmp_path / "page.html"
    write_page(report(), file)
    found = drawn(file, width, scheme)
    assert (found.width, found.sticking_out, found.loading) == (width, 0, 0)
    assert (sum(found.ground) < 150) is (scheme == "dark")
