"""What every test shares: offline, quiet, seeded; and the real data when it is there."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path

# Tiny tensors: a second thread costs more than it brings, and tests run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

import jaxtyping
import pytest
import torch

from tests.helpers.checked import faster
from tests.slow import FIRST, SLOW

CHECKED = [f"dpo_lightning.{name}" for name in ("batch", "losses", "logprobs", "attention", "training.metrics")]
NEEDED = {
    "tests/parity": "trl",
    "tests/gpu_path/test_trl.py": "trl",
    "tests/tools": "networkx",
    "tests/test_layers.py": "importlinter",
}
# Before any of these is imported. Without beartype the shapes in their signatures are not checked.
if find_spec("beartype"):
    jaxtyping.jaxtyped = faster(jaxtyping.jaxtyped)
    jaxtyping.install_import_hook(CHECKED, "beartype.beartype")

torch.set_num_threads(1)  # a plugin has imported torch already

# Where there is no GPU, torch.manual_seed takes a stack trace for each kind of device: longer than most tests.
seed = torch.manual_seed if torch.cuda.is_available() else torch.default_generator.manual_seed

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_report_header() -> list[str]:
    """Say what a machine without the optional test packages does not show."""
    lost = [("beartype", "shapes are not checked"), *((name, f"no {path}") for path, name in NEEDED.items())]
    return [f"without {name}: {loss}" for name, loss in lost if not find_spec(name)]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what needs the extra `dev` where it is not installed, except in CI; and files of slow tests.

    The latter before they are imported, where none of them is to run: TRL takes seconds.
    """
    if not collection_path.is_relative_to(config.rootpath):
        return None
    path = collection_path.relative_to(config.rootpath).as_posix()
    if path in NEEDED and not find_spec(NEEDED[path]) and not os.environ.get("CI"):
        return True
    return (config.option.markexpr == "not slow" and path.startswith(tuple(SLOW))) or None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what is slow."""
    if item.nodeid.startswith(tuple(SLOW)):
        item.add_marker(pytest.mark.slow)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what makes all its cases at once: at the end it would keep a worker waiting."""
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


def pytest_collection_finish() -> None:
    """Let no garbage collection look at all that was imported: half a second each, and some libraries ask often."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_rank() -> Iterator[None]:
    """No test leaves the variables of a rank, which Lightning sets here: a later run would wait for others."""
    names = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "RANK")
    before = {name: os.environ[name] for name in names if name in os.environ}
    yield
    for name in names:
        os.environ.pop(name, None)
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    seed(0)


@pytest.fixture(scope="session", autouse=True)
def _dataset_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Directories that are still to be used; what is read for more tests than one has the first."""
    import datasets

    root = tmp_path_factory.mktemp("datasets")
    datasets.config.HF_DATASETS_CACHE = root / "shared"
    return (root / str(number) for number in count())


@pytest.fixture(autouse=True)
def _own_dataset_cache(_dataset_caches: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads what another run cached, and none fills the user's cache. Who needs the directory makes it."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", next(_dataset_caches))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and models beside the checkout; without it the test is skipped, but never in CI."""
    if not SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{SHARED} must be there in CI")
        pytest.skip("no real data beside this checkout")
    return SHARED
