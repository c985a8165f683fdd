"""Matplotlib is an extra: the package does without it, and what draws says how to get it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from configparser import ConfigParser
from pathlib import Path

import pytest

from dpo_lightning.cli.main import main
from dpo_lightning.errors import InputError
from dpo_lightning.report import PlotLogger, plot_curves
from tests.helpers.runs import saved_model, write_rows

ROOT = Path(__file__).resolve().parents[2]
LINE = "curves as a picture need matplotlib: run `pip install 'dpo_lightning[plot]'`"


@pytest.fixture
def _no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.mark.usefixtures("_no_matplotlib")
def test_a_picture_without_matplotlib_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as logger:
        PlotLogger(str(tmp_path / "curves.png"))
    with pytest.raises(InputError) as curves:
        plot_curves({}, tmp_path / "curves.png")
    assert str(logger.value) == str(curves.value) == LINE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_no_matplotlib")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_command_says_it_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    model, rows = saved_model(tmp_path / "model"), write_rows(tmp_path / "pairs.jsonl")
    words = [f"--model.policy={model}", f"--data.dataset={rows}", "--trainer.logger=PlotLogger"]
    with pytest.raises(SystemExit) as end:
        main(["fit", *words, "--trainer.logger.path=out/curves.png", "--trainer.accelerator=cpu"])
    assert end.value.code == f"error: {LINE}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "pairs.jsonl"]


def test_no_module_of_the_package_imports_it() -> None:
    """In a process that has no matplotlib. Where it is installed, torchmetrics imports it by itself."""
    script = """
        import importlib, importlib.metadata, pkgutil, sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "matplotlib":
                    raise ModuleNotFoundError(name)

        def version(name, known=importlib.metadata.version):
            if name == "matplotlib":
                raise importlib.metadata.PackageNotFoundError(name)
            return known(name)

        sys.meta_path.insert(0, Absent())
        importlib.metadata.version = version

        import dpo_lightning

        for module in pkgutil.walk_packages(dpo_lightning.__path__, "dpo_lightning."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        assert "matplotlib" not in sys.modules
        print("imported")
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["imported"], done.stderr


def test_only_the_extra_asks_for_it() -> None:
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert "matplotlib" not in settings["options"]["install_requires"]
    extras = settings["options.extras_require"]
    assert "matplotlib" in extras["plot"]
    assert "matplotlib" in extras["test"]
    assert '".[plot]"' in (ROOT / "Makefile").read_text()
