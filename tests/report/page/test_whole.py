"""The page as a whole: one file that loads nothing, in a browser at the width of a desk and of a phone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.report.page.whole import run_page, several_page, write_report
from dpo_lightning.report.record import RunRecord, write_document
from dpo_lightning.report.runs import Run
from tests.data.inspect.browser import BROWSER, drawn, printed
from tests.data.inspect.test_page import Outline
from tests.helpers.recorded import EVIL, write_run

SECTIONS = [
    *("Hints", "Configuration", "Data", "Curves", "Rewards and margins", "Reward against length", "Calibration"),
    *("Accuracy", "Most wrong", "Samples", "Throughput and memory", "Load the model", "Reproduce"),
]


@pytest.fixture(scope="module")
def evil(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "evil" / "logs", evil=EVIL + "x" * 300)


@pytest.fixture(scope="module")
def other(evil) -> Path:
    return write_run(evil.parents[1] / "other" / "logs", beta=0.5, evil=EVIL)


def test_a_page_has_all_sections_and_loads_nothing(evil) -> None:
    for source in (run_page(Run.read(evil)), several_page([Run.read(evil), Run.read(evil)])):
        outline = Outline(source)
        assert outline.open == []
        assert not {tag for tag, _ in outline.tags} & {"script", "img", "link", "iframe", "object"}
        loading = {"src", "onerror", "onload", "xlink:href"}
        assert not [attrs for _, attrs in outline.tags if loading & attrs.keys()]
        assert all(attrs["href"].startswith("#") for _, attrs in outline.tags if "href" in attrs)
        assert not re.search(r"url\(|@import|https?://", source)
        assert "default-src 'none'" in source
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u200b\u202e]", source)
        ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
        assert [attrs["href"][1:] for tag, attrs in outline.tags if tag == "a"] == ids


def test_every_section_of_a_run_is_there_even_of_one_that_left_nothing_but_its_facts(tmp_path, evil) -> None:
    write_document(RunRecord(tmp_path).facts, {"format": 1, "status": "running"})
    for run in (Run.read(evil), Run.read(tmp_path)):
        source = run_page(run)
        assert re.findall(r"<h2>([^<]+)</h2>", source) == SECTIONS
        for part in re.findall(r"<section.*?</section>", source, re.DOTALL):
            assert re.search(r"</h2>\s*<", part)
            assert len(re.sub(r"<[^>]+>|\s", "", part)) > 15, part


def test_the_page_lies_in_the_runs_directory_or_in_the_one_that_runs_share(evil, other) -> None:
    assert write_report([evil]) == evil / "report.html"
    page = write_report([evil, other])
    assert page == evil.parents[1] / "comparison.html"
    source = page.read_text(encoding="utf-8")
    assert re.findall(r"<h2>([^<]+)</h2>", source) == ["Results", "Settings that differ", "Curves", "Frontier"]
    assert ">1 <bdi>evil<" in source
    assert write_report([evil], evil / "other.htm") == evil / "other.htm"


def test_a_damaged_file_leaves_the_page_that_is_there(tmp_path) -> None:
    run = write_run(tmp_path)
    before = write_report([run]).read_bytes()
    RunRecord(run).hints.write_text("x\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1"):
        write_report([run])
    assert (run / "report.html").read_bytes() == before


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_nothing_sticks_out_and_all_is_to_be_seen(width, scheme, evil, other) -> None:
    for page in (write_report([evil]), write_report([evil, other])):
        found = drawn(page, width, scheme)
        assert (found.width, found.sticking_out, found.loading) == (width, 0, 0)
        assert (sum(found.ground) < 150) is (scheme == "dark")
        assert found.hidden == 0
        assert found.said == ""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
def test_a_printed_page_has_what_is_folded_on_the_screen(tmp_path) -> None:
    page = write_report([write_run(tmp_path)])
    pages = len(re.findall(rb"/Type /Page\b", printed(page)))
    folded = page.read_text(encoding="utf-8").replace(".example::details-content", ".nothing::details-content")
    page.write_text(folded, encoding="utf-8")
    assert pages > len(re.findall(rb"/Type /Page\b", printed(page))) > 3
