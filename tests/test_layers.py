"""The design as a test: imports go one way, tests mirror the package, and the step never waits for the device."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import dpo_lightning
from dpo_lightning.batch import COLUMNS, collate_padded
from dpo_lightning.logprobs import chunked_logps
from dpo_lightning.losses import KTO, UnpairedBCO, UnpairedObjective
from dpo_lightning.losses.scores import Baseline, PairScores, TokenScores, UnpairedScores
from dpo_lightning.training.baseline import RunningMean
from dpo_lightning.training.metrics import PairMean, UnpairedMean, pair_metrics, unpaired_metrics
from tests.helpers.tiny import PAIRS, labelled_of
from tests.losses.battery import Row, all_rows

PACKAGE = Path(dpo_lightning.__file__).parent
REPOSITORY = Path(__file__).parents[1]
IN_THE_STEP = ["batch/types.py", "losses", "logprobs", "reference", "training/metrics.py", "module.py"]
# A probe runs once, a diagnosis when the run is about to stop, and names are counted when they are logged.
MAY_WAIT = {"_fit", "_scale", "diagnose", "_counted"}
WAITING = {"item", "cpu", "tolist", "numpy"}
WITHOUT_TESTS_OF_THEIR_OWN = {
    "__main__.py": "calls `main`, as `tests/cli/test_main.py` does in a process of its own",
    "errors.py": "classes without a body, which the test of every refusal names",
    "utils/utilization.py": "a constant",
    "utils/version.py": "a constant",
}


def files() -> list[Path]:
    paths = [PACKAGE / name for name in IN_THE_STEP]
    return sorted(file for path in paths for file in ([path] if path.is_file() else path.glob("*.py")))


def waits(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef) and node.name in MAY_WAIT:
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WAITING:
            yield f"line {node.lineno}: .{node.func.attr}()"
        yield from waits(node)


@pytest.fixture
def _loggers_stay_on() -> Iterator[None]:
    """The linter configures logging, which turns off every logger that is there: of tests after it none would hear."""
    loggers = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    before = [logger.disabled for logger in loggers]
    yield
    for logger, disabled in zip(loggers, before, strict=True):
        logger.disabled = disabled


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.usefixtures("_loggers_stay_on")
def test_imports_go_in_one_direction(capfd: pytest.CaptureFixture[str]) -> None:
    from importlinter.cli import lint_imports  # others take from this module what needs no linter

    status = lint_imports(config_filename=str(REPOSITORY / "setup.cfg"), no_cache=True)

    assert status == 0, capfd.readouterr().out


def untested(package: Path, tests: Path) -> set[str]:
    """Modules without a file of tests at the same place: `a/b.py` has `a/test_b.py`, with a test in it."""
    modules = {path.relative_to(package) for path in package.rglob("*.py") if path.name != "__init__.py"}
    return {path.as_posix() for path in modules if not has_tests(tests / path.parent / f"test_{path.name}")}


def has_tests(file: Path) -> bool:
    return file.is_file() and re.search(r"^\s*def test_", file.read_text(encoding="utf-8"), re.MULTILINE) is not None


def test_every_module_has_its_file_of_tests() -> None:
    assert untested(PACKAGE, REPOSITORY / "tests") == WITHOUT_TESTS_OF_THEIR_OWN.keys()


def test_a_module_without_tests_is_found(tmp_path: Path) -> None:
    package, tests = tmp_path / "package", tmp_path / "tests"
    for path in ("a/__init__.py", "a/tested.py", "a/empty.py", "a/elsewhere.py", "top.py"):
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).touch()
    (tests / "a").mkdir(parents=True)
    (tests / "a/test_tested.py").write_text("class TestIt:\n    def test_it(self): ...\n")
    (tests / "a/test_empty.py").write_text("def helper(): ...\n")
    (tests / "test_elsewhere.py").write_text("def test_it(): ...\n")

    assert untested(package, tests) == {"a/empty.py", "a/elsewhere.py", "top.py"}


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_nothing_in_the_step_waits_for_the_device(file: Path) -> None:
    assert list(waits(ast.parse(file.read_text()))) == []


def test_the_search_finds_what_waits() -> None:
    tree = ast.parse("def step(x):\n    return x.sum().item()\ndef diagnose(x):\n    return x.item()")

    assert list(waits(tree)) == ["line 2: .item()"]


class NoWaiting(TorchDispatchMode):
    """Fails where a value of a tensor is asked for: `.item()`, `bool(x)`, `x.tolist()`, `nonzero`, masks as indices."""

    FORBIDDEN = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.name().split(".")[0] not in self.FORBIDDEN, func.name()
        return func(*args, **(kwargs or {}))


def test_waiting_is_noticed() -> None:
    with NoWaiting(), pytest.raises(AssertionError, match="_local_scalar_dense"):
        bool(torch.ones(1) > 0)


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: row.name)
def test_neither_log_probs_nor_loss_nor_metrics_wait(row: Row) -> None:
    batch = collate_padded(PAIRS)
    head = torch.nn.Linear(4, 30)
    hidden = torch.randn(len(batch.targets), 4, requires_grad=True)
    metric = PairMean()
    with NoWaiting():
        token_logps = chunked_logps(hidden, batch.targets, head, vocab_size=30, chunk_logits=90).logps
        columns = {name: torch.ones(batch.examples) for name in COLUMNS}
        tokens = TokenScores(
            token_logps, token_logps.detach() - 1, batch.sequence_id, batch.lengths, token_logps.detach()
        )
        scores = PairScores.from_tokens(tokens, columns)._replace(baseline=Baseline(*torch.zeros(2)))
        losses = row.objective(scores)
        losses.mean().backward()
        metric.update(pair_metrics(scores, row.objective.rewards(scores), losses))

    assert hidden.grad is not None
    assert hidden.grad.abs().sum() > 0


@pytest.mark.parametrize("objective", [KTO(), UnpairedBCO()], ids=["KTO", "UnpairedBCO"])
def test_single_completions_and_their_means_do_not_wait(objective: UnpairedObjective) -> None:
    batch = collate_padded([labelled_of(pair) for pair in PAIRS])
    token_logps = torch.randn(len(batch.targets), requires_grad=True)
    metric, running = UnpairedMean(), RunningMean()
    with NoWaiting():
        tokens = TokenScores(token_logps, token_logps.detach() - 1, batch.sequence_id, batch.lengths)
        assert batch.labels is not None
        scores = UnpairedScores.from_tokens(tokens, batch.labels, mismatched=True)
        observation = objective.observe(scores)
        assert observation is not None
        for moves in (True, False):
            scores = scores._replace(baseline=running.baseline(observation, moves=moves))
        losses = objective(scores)
        losses.mean().backward()
        point = objective.reference_point(scores)
        metric.update(unpaired_metrics(scores, objective.rewards(scores), point, losses))

    assert token_logps.grad is not None
    assert token_logps.grad.abs().sum() > 0
