"""Places in a drawing, read back from its source."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

_NUMBER = r"-?[\d.]+"


def drawing(source: str) -> ET.Element:
    """The figure as a tree: the source is well-formed."""
    return ET.fromstring(source)


def lines(source: str, colour: int) -> list[list[tuple[float, float]]]:
    """Places of each unbroken stretch of the lines of a colour, without the legend's."""
    body = source[source.index("viewBox=", source.index("</ul>") if "</ul>" in source else 0) :]
    paths = re.findall(rf'class="line s{colour}(?: dashed)?" d="([^"]+)"', body)
    return [
        [(float(x), float(y)) for x, y in re.findall(rf"({_NUMBER}) ({_NUMBER})", part)]
        for path in paths
        for part in path.split("M")[1:]
    ]


def words(source: str) -> list[str]:
    """Texts of the drawing, in order."""
    return [each.text or "" for each in drawing(source).iter() if each.tag in ("text", "li", "figcaption", "small")]
