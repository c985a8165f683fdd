"""Draws the imports of the package and describes them in text: `python -m tools.docs.imports`."""

from __future__ import annotations

from pathlib import Path

from tools.docs.files_picture import draw_files
from tools.docs.import_graph import files_of, summary
from tools.docs.rooms_picture import draw_rooms

PICTURES = Path(__file__).parents[2] / "docs" / "architecture"


def main(folder: Path = PICTURES) -> None:
    """Write both pictures, and print how many rooms, arrows and circles there are.

    Args:
        folder: Directory of `rooms.png` and `files.png`.
    """
    files = files_of("dpo_lightning")
    draw_rooms(files, folder / "rooms.png")
    draw_files(files, folder / "files.png")
    print("\n".join(summary(files)))


if __name__ == "__main__":
    main()
