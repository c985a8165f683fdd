"""The notebook of `examples/` in a kernel, run as people do: a cell twice, interrupted, and with a mistake."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

INTERRUPTED = """
from lightning.pytorch import Callback

class Interrupts(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 2:
            raise KeyboardInterrupt

settings = dict(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
module = PreferenceModule("notebook_lab/policy")
stopped = Trainer(max_epochs=1, callbacks=[Interrupts()], **settings)
try:
    stopped.fit(module, data)
except (KeyboardInterrupt, SystemExit) as error:
    print("stopped by", type(error).__name__, "after", stopped.global_step)
(measured,) = stopped.validate(module, data, verbose=False)
print("measured", len(measured) > 3, "with", len(list(data.train_dataloader())), "batches")
"""
MISTAKEN = "Trainer(logger=False).fit(PreferenceModule('no/such/model'), LabDataModule('lab', batch_pairs=0))"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Cells of the notebook after a run, with further ones behind it."""
    notebook: Any = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    trained = next(cell for cell in notebook.cells if "trainer.fit" in cell.source)
    further = [trained.source, INTERRUPTED, MISTAKEN]
    notebook.cells += [nbformat.v4.new_code_cell(source) for source in further]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.getcwd())
        place = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
        client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place, allow_errors=True)
        client.execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cell: Any) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


def test_a_run_is_readable_in_a_notebook(cells: list[Any]) -> None:
    before, trained, looked, measured = cells[:4]
    assert not [output for cell in cells[:-1] for output in cell.outputs if output.output_type == "error"]

    assert text_of(before).startswith("LabDataModule(")
    assert text_of(before).endswith(": not read yet; batch_pairs=16, layout=auto)\n")
    lines = text_of(trained).splitlines()
    assert "PreferenceModule(notebook_lab/policy: not loaded yet; DPO(beta=1.0, label_smoothing=0.0))" in lines
    assert [line.split("  ")[0] for line in lines if line.startswith(("step ", "validation "))] == [
        "step 4/8",
        "step 8/8",
        "validation 1/1",
    ]
    assert len(lines) < 60
    assert "examples   128 pairs to train on, 16 held out" in lines
    assert not [line for line in lines if "ipywidgets" in line or "\r" in line or "\x1b" in line]
    assert max(map(len, text_of(looked).splitlines())) < 160
    assert "train 128, val 16" in text_of(looked)
    assert "batches of an epoch: 8" in text_of(looked)
    assert "'val/loss'" in measured.outputs[-1]["data"]["text/plain"]


def test_the_cell_runs_again(cells: list[Any]) -> None:
    assert "step 8/8" in text_of(cells[4])


def test_an_interrupt_leaves_module_and_data_usable(cells: list[Any]) -> None:
    said = text_of(cells[5])
    assert "stopped by" in said
    assert "measured True with 8 batches" in said


def test_a_mistake_is_one_line(cells: list[Any]) -> None:
    (error,) = [output for output in cells[6].outputs if output.output_type == "error"]
    assert error.ename == "InputError"
    assert error.traceback == [f"InputError: {error.evalue}"]
