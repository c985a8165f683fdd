"""Packages and devices that a run asks for and that are not here, each in a line with what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable

from packaging.requirements import Requirement

from dpo_lightning.cli.requirements import OURS, extras, requirements

_NOT_MET = re.compile(r"Requirement '(?P<requirement>[^']+)' not met")
_NO_TENSORBOARD = re.compile(r"Neither `(?P<requirement>tensorboard)` nor `tensorboardX` is available")
_OF_CLASS = re.compile(r"Problem with given class_path '([^']+)'")
_NO_DEVICE = re.compile(
    r"No supported gpu backend found|can not run on your system since the accelerator is not available"
    r"|You requested gpu: .* But your machine only has|requires a GPU accelerator"
)


def missing_package(errors: Iterable[BaseException]) -> str | None:
    """Find among errors one of Lightning's about a package that is not installed, and say how to install it.

    Returns:
        What is needed, as it follows the name of the class that needs it; None where there is no such error.
    """
    for error in errors:
        found = _NO_TENSORBOARD.search(str(error)) or _NOT_MET.search(str(error))
        if found is not None:
            requirement = Requirement(found["requirement"])
            return f"needs {requirement.name}: pip install '{_source(requirement)}'"
    return None


def class_in(error: BaseException) -> str | None:
    """Return the class that the parser could not make, as an error says that is about a list of objects."""
    found = _OF_CLASS.findall(str(error))
    return found[-1].rpartition(".")[2] if found else None


def _source(requirement: Requirement) -> str:
    """Return the extra of this package that installs it, or else the requirement."""
    for extra in extras():
        if any(each.name == requirement.name for each in requirements(extra)):
            return f"{OURS}[{extra}]"
    return str(requirement)


def missing_device(error: BaseException) -> str | None:
    """Return what to do about a device that Lightning does not find; None for another error."""
    if _NO_DEVICE.search(str(error)) is None:
        return None
    return "set trainer.accelerator and trainer.devices to auto; `dpo-lightning doctor` says what is here"
