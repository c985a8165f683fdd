"""Draw the picture of a report for the README: `python -m tools.docs.report_picture RUN_DIR [PICTURE.png]`.

It needs Chromium, and shows a part of what `dpo-lightning report RUN_DIR` writes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dpo_lightning.report.markup import document, section
from dpo_lightning.report.page import pairs
from dpo_lightning.report.page.curves import LEARNING, chart
from dpo_lightning.report.page.summary import verdict
from dpo_lightning.report.runs import Run, runs_at

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PANELS = ("Loss", "Reward accuracy", "Rewards", "Log-ratios to the reference")
_SIZE = 1000, 1274


def picture_page(run: Run) -> str:
    """Return the page that is drawn: the verdict, four charts, and how rewards are spread."""
    return document(run.title, _parts(run))


def _parts(run: Run) -> Iterator[str]:
    yield from verdict(run)
    charts = [each for panel in LEARNING if panel.title in _PANELS and (each := chart(panel, run.metrics))]
    yield from section("Curves", [f'<div class="charts">{"".join(charts)}</div>'])
    yield from section("Rewards and margins", pairs.distributions(run))


def draw(run: Run, picture: Path) -> None:
    """Draw the page with Chromium as a PNG.

    Raises:
        FileNotFoundError: without Chromium.
    """
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise FileNotFoundError("no Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        page.write_text(picture_page(run), encoding="utf-8")
        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder}/profile",
        ]
        size = f"--window-size={','.join(map(str, _SIZE))}"
        command = [browser, *flags, size, f"--screenshot={picture.resolve()}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


if __name__ == "__main__":
    (found,) = runs_at(Path(sys.argv[1]))
    draw(Run.read(found), Path(sys.argv[2] if len(sys.argv) > 2 else "docs/report.png"))
