"""The examples in the package's docstrings do what they say."""

from __future__ import annotations

from doctest import DocTest, DocTestFinder, DocTestRunner
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import dpo_lightning

# Classes that a reader begins with.
EXAMPLES = [
    "AdapterOff",
    "Cosine",
    "DPO",
    "Export",
    "FrozenCopy",
    "KTO",
    "LoRA",
    "Objective",
    "PlotLogger",
    "Precomputed",
    "PreferenceDataModule",
    "PreferenceModule",
    "ResumableCheckpoint",
    "RowFormat",
    "SampleTable",
    "SimPO",
    "StepZeroCheck",
    "TokenScorer",
    "TrustRegionReference",
    "UnpairedFormat",
    "UpdateGuard",
    "Weighted",
    "WriteRewards",
]


def examples() -> list[DocTest]:
    names = (module.name for module in walk_packages(dpo_lightning.__path__, f"{dpo_lightning.__name__}."))
    modules = [import_module(name) for name in names if not name.endswith("__main__")]
    return [test for module in modules for test in DocTestFinder().find(module) if test.examples]


FOUND = examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_class_that_a_reader_begins_with_has_an_example(name: str) -> None:
    assert name in {example.name.rpartition(".")[2] for example in FOUND}


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.parametrize("example", FOUND, ids=lambda example: example.name.removeprefix("dpo_lightning."))
def test_the_example_runs_as_it_says(example: DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report: list[str] = []
    result = DocTestRunner().run(example, out=report.append)

    assert result.attempted > 0
    assert result.failed == 0, "".join(report)
