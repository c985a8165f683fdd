"""The examples in the docstrings of the objectives are right."""

from __future__ import annotations

from doctest import DocTest, DocTestFinder, DocTestRunner
from importlib import import_module
from pkgutil import iter_modules

import pytest

from dpo_lightning import losses

SHOWN = {"DPO", "KTO", "SimPO", "Weighted", "Objective"}


def examples() -> list[DocTest]:
    modules = [import_module(f"{losses.__name__}.{module.name}") for module in iter_modules(losses.__path__)]
    return [test for module in modules for test in DocTestFinder().find(module) if test.examples]


def test_the_objectives_that_a_reader_begins_with_have_one() -> None:
    assert {test.name.rpartition(".")[2] for test in examples()} >= SHOWN


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_the_example_runs_as_it_says(example: DocTest) -> None:
    report: list[str] = []
    result = DocTestRunner().run(example, out=report.append)

    assert result.attempted > 0
    assert result.failed == 0, "".join(report)
