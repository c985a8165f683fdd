"""The lowest versions that the package asks for are those that `make test-lowest` installs."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def asked() -> dict[str, str]:
    """The floor of each requirement, of the extras `plot` and `qlora` too."""
    settings = ConfigParser(interpolation=None)
    settings.read(REPOSITORY / "setup.cfg")
    lines = settings["options"]["install_requires"].split()
    lines += [settings["options.extras_require"][extra] for extra in ("plot", "qlora")]
    found = re.findall(r"^([\w-]+)(?:\[\w+\])?>=([\d.]+)", "\n".join(line.strip() for line in lines), re.MULTILINE)
    return dict(found)


def installed(name: str) -> str:
    lines = (REPOSITORY / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    (version,) = [line.partition("==")[2] for line in lines if line.partition("==")[0].lower() == name]
    return version


@pytest.mark.parametrize("name", sorted(asked().keys() - {"torch"}))
def test_the_floor_is_what_the_lowest_environment_has(name: str) -> None:
    floor, version = (tuple(map(int, text.split("."))) for text in (asked()[name], installed(name)))
    assert version[: len(floor)] == floor
    assert set(version[len(floor) :]) <= {0}


def test_the_pinned_torch_is_in_the_range() -> None:
    pins = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    (pinned,) = re.findall(r"^torch==([\d.]+)$", pins, re.MULTILINE)
    assert (2, 11) <= tuple(map(int, pinned.split(".")[:2])) < (2, 15)
