"""A headless Chromium, where there is one: what of a page sticks out at a width, its colours, and it on paper."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --hide-scrollbars --disable-dev-shm-usage --no-first-run "
    "--allow-file-access-from-files --enable-logging=stderr"
)
# A frame is as narrow as it says; the browser's own window is not.
_FRAME = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe style="width:{width}px;height:900px;border:0" src="{page}"></iframe><script>onload = () => {{
const frame = document.querySelector("iframe"), page = frame.contentDocument;
const wide = [...page.querySelectorAll("*")].filter(each => each.getBoundingClientRect().right > {width} + 0.5);
const loading = page.querySelectorAll("script,img,link").length;
const hidden = [...page.querySelectorAll("section")].filter(each => each.getBoundingClientRect().height < 40).length;
const ground = frame.contentWindow.getComputedStyle(page.body).backgroundColor.match(/\\d+/g);
document.title = [page.documentElement.scrollWidth, wide.length, loading, hidden, ...ground].join(" ");
}}</script>"""


class Drawn(NamedTuple):
    """What a browser makes of a page.

    Attributes:
        width: Width of all of it.
        sticking_out: Elements beyond its right edge.
        loading: Elements that load something.
        hidden: Sections that are not to be seen.
        ground: Red, green and blue behind it.
        said: Lines of the console.
    """

    width: int
    sticking_out: int
    loading: int
    hidden: int
    ground: tuple[int, ...]
    said: str


def drawn(page: Path, width: int, scheme: str = "light") -> Drawn:
    """Open a page in a frame of a width, in the light or dark scheme."""
    assert BROWSER is not None
    frame = page.with_name(f"{page.stem}_{width}.html")
    frame.write_text(_FRAME.format(width=width, page=page.name), encoding="utf-8")
    colours = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    own = [f"--user-data-dir={page.parent / 'profile'}", colours]
    command = [BROWSER, *_FLAGS.split(), *own, "--dump-dom", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = re.search(r"<title>([\d ]+)</title>", done.stdout)
    assert found is not None, done.stdout[:2000]
    width, wide, loading, hidden, *ground = map(int, found[1].split())
    said = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return Drawn(width, wide, loading, hidden, tuple(ground), said)


def printed(page: Path) -> bytes:
    """Print a page to a PDF, and return it."""
    assert BROWSER is not None
    paper = page.with_suffix(".pdf")
    own = [f"--user-data-dir={page.parent / 'profile'}", f"--print-to-pdf={paper}"]
    subprocess.run([BROWSER, *_FLAGS.split(), *own, page.as_uri()], capture_output=True, timeout=60, check=True)
    return paper.read_bytes()
