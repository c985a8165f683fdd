"""Where a measurement was taken: versions, machine, commit; no host name and no path."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_OTHERS = ("torch", "triton", "lightning", "transformers", "peft", "datasets", "trl", "liger-kernel", "flash-attn-3")
PACKAGES = (*_OTHERS, "dpo_lightning")


def describe() -> dict[str, Any]:
    """Versions of the packages, the machine, and the commit of the code, marked when it had uncommitted changes."""
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "machine": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "system": f"{platform.system()} {platform.machine()}",
            **(_gpu() if torch.cuda.is_available() else {}),
        },
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    """The version of a package; None where it is not installed, as ours is not where it is found by its path."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gpu() -> dict[str, Any]:
    device = torch.cuda.get_device_properties(0)
    return {"gpu": device.name, "gpu_gib": round(device.total_memory / 2**30, 1), "cuda": torch.version.cuda}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"


def _commit() -> str | None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        # The results themselves are written after the measurement and change nothing.
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)benchmarks/results")
        return git("rev-parse", "HEAD") + (" with uncommitted changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
