"""Draws the imports of the package and describes them in text: `python -m tools.docs.imports`."""

from __future__ import annotations

from pathlib import Path

import networkx as nx

from dpo_lightning.checkpoints.contents import markdown_table
from tools.docs.files_picture import draw_files
from tools.docs.import_graph import files_of, summary
from tools.docs.rooms_picture import draw_rooms

DOCUMENT = Path(__file__).parents[2] / "docs" / "architecture.md"
PICTURES = DOCUMENT.parent / "architecture"


def written(page: str, graph: nx.DiGraph) -> str:
    """Return the page with the parts that are generated: the numbers of the imports, and what a checkpoint holds.

    Args:
        page: Markdown with a pair of comments around each part, `<!-- imports -->` and `<!-- contents -->` first.
        graph: Imports between the files of the package.
    """
    for name, text in (("imports", "\n".join(summary(graph))), ("contents", markdown_table().rstrip())):
        before, _, rest = page.partition(f"<!-- {name} -->\n")
        _, _, after = rest.partition(f"<!-- end of {name} -->")
        block = f"```text\n{text}\n```" if name == "imports" else text
        page = f"{before}<!-- {name} -->\n\n{block}\n\n<!-- end of {name} -->{after}"
    return page


def main(folder: Path = PICTURES, document: Path = DOCUMENT) -> None:
    """Write both pictures and the generated parts of the page, and print how many rooms, arrows and circles there are.

    Args:
        folder: Directory of `rooms.png` and `files.png`.
        document: The page.
    """
    files = files_of("dpo_lightning")
    draw_rooms(files, folder / "rooms.png")
    draw_files(files, folder / "files.png")
    document.write_text(written(document.read_text(encoding="utf-8"), files), encoding="utf-8")
    print("\n".join(summary(files)))


if __name__ == "__main__":
    main()
