"""A process of `gpu.py` that measures rows: started, told to go, read while it works, and ended with its children."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu_rows import Row

_ROOT = Path(__file__).resolve().parents[1]
_POLL_S = 0.1


class Measuring:
    """Rows that are measured in a process of its own, which heads a process group.

    Args:
        rows: What it measures, in this order.
        told: What it is told beside its rows; see `gpu_job.Job`.
        folder: An empty folder of its own.
        module: The program.
    """

    def __init__(
        self, rows: list[Row], told: dict[str, Any], folder: Path, module: str = "benchmarks.gpu_side"
    ) -> None:
        self.rows = rows
        self._waiting = [row.name for row in rows]
        self._figures, self._errors, self._read = folder / "figures.jsonl", folder / "errors.txt", 0
        folder.mkdir(parents=True)
        scratch = folder / "scratch"
        scratch.mkdir()
        job = folder / "job.json"
        named = [{"name": row.name, "settings": row.settings} for row in rows]
        job.write_text(json.dumps({**told, "scratch": str(scratch), "rows": named}), encoding="utf-8")
        self._figures.touch()
        with self._errors.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(job), str(self._figures)],
                cwd=_ROOT,
                env=_environment(scratch),
                stdin=subprocess.PIPE,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )

    def measured(self, limit_s: float, ended: Callable[[], str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Let it go, and yield the figures or the error of each row as they come.

        Args:
            limit_s: Seconds after which it is killed.
            ended: What is said of the rows that are missing then: an error, or nothing for rows that were not run.
        """
        self._go()
        end = time.monotonic() + limit_s
        while self._process.poll() is None and time.monotonic() < end:
            yield from self._new()
            time.sleep(_POLL_S)
        in_time = self._process.poll() is not None
        self.kill()
        yield from self._new()
        said = self._last_words() if in_time else ended()
        if said and self._waiting:
            yield self._waiting.pop(0), {"error": said}

    def kill(self) -> None:
        """End the process with all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _go(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and its last words say why
            self._process.stdin.write(b"\n")
            self._process.stdin.close()

    def _new(self) -> Iterator[tuple[str, dict[str, Any]]]:
        with self._figures.open(encoding="utf-8") as lines:
            lines.seek(self._read)
            for line in iter(lines.readline, ""):
                if not line.endswith("\n"):  # half of one: the rest comes later
                    return
                self._read = lines.tell()
                figures = json.loads(line)
                self._waiting.remove(figures["row"])
                yield figures.pop("row"), figures

    def _last_words(self) -> str:
        code = self._process.returncode
        ending = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        lines = [line.strip() for line in self._errors.read_text(encoding="utf-8", errors="replace").splitlines()]
        last = next((line for line in reversed(lines) if line), "")
        return f"{ending}: {last}"[:300] if last else ending


def _environment(scratch: Path) -> dict[str, str]:
    """Offline, on one GPU, with our packages and caches of data of its own; those of compiled kernels stay."""
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(scratch), "TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1"}
    one = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}
    return {**os.environ, **own, **one, "PYTHONPATH": os.pathsep.join(paths)}
