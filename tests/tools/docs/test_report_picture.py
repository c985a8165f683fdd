"""The picture of a report."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning.report.runs import Run
from tests.data.inspect.browser import BROWSER
from tests.helpers.recorded import write_run
from tools.docs.report_picture import draw, picture_page


def test_the_page_of_the_picture_has_charts_of_both_parts(tmp_path: Path) -> None:
    source = picture_page(Run.read(write_run(tmp_path)))
    assert source.count("<figure>") == 4 + 3


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
def test_it_is_a_png(tmp_path: Path) -> None:
    draw(Run.read(write_run(tmp_path)), tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert (Path(__file__).parents[3] / "docs" / "report.png").stat().st_size < 150_000
