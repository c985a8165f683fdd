"""`dpo-lightning report`, on any machine: without torch, and with one line for whatever is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dpo_lightning.cli.commands.report import report
from dpo_lightning.cli.door import main
from dpo_lightning.errors import InputError
from dpo_lightning.report.record import RunRecord
from tests.helpers.recorded import write_run

ROOT = Path(__file__).parents[3]
_WITHOUT_TORCH = """
import sys
for name in ("torch", "lightning", "transformers", "datasets", "numpy", "matplotlib"):
    sys.modules[name] = None  # an import raises
from dpo_lightning.cli.door import main
main(sys.argv[1:])
"""


def test_it_needs_neither_torch_nor_lightning(tmp_path: Path) -> None:
    write_run(tmp_path / "my run")
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TORCH, "report", "my run"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert (done.stdout, done.stderr) == ("report in my run/report.html\n", "")
    assert (tmp_path / "my run" / "report.html").read_text(encoding="utf-8").endswith("</html>\n")


def test_every_command_of_its_page_in_the_docs_works(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("lightning_logs/version_0", "lightning_logs/version_1", "runs/a", "runs/b"):
        write_run(tmp_path / name)
    (block,) = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "report.md").read_text(encoding="utf-8"), re.DOTALL)
    commands = [line.partition("#")[0].split()[1:] for line in block.splitlines()]
    assert [command[0] for command in commands] == ["fit", "report", "report", "report"]
    for command in commands[1:]:
        main(command)
    assert capsys.readouterr().out.splitlines() == [
        "report in lightning_logs/version_0/report.html",
        "report in lightning_logs/comparison.html",
        "report in compared.html",
    ]


def test_several_runs_are_compared_and_one_named_twice_is_one(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write_run(tmp_path / "lightning_logs" / f"version_{number}", seed=number)
    report(["lightning_logs"])
    report(["lightning_logs/version_1", "lightning_logs/version_1/record", "--out", "pages/one.html"])
    assert capsys.readouterr().out.splitlines() == [
        "report in lightning_logs/comparison.html",
        "report in pages/one.html",
    ]
    assert "<h1>3 runs</h1>" in Path("lightning_logs/comparison.html").read_text(encoding="utf-8")
    assert "<h1>DPO of models/tiny</h1>" in Path("pages/one.html").read_text(encoding="utf-8")


def test_what_is_wrong_is_one_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = write_run(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    for words, said in (
        (["empty"], "error: empty: no directory of a run"),
        (["run", "--out", "x.png"], "error: report --out: x.png: the report is a page"),
        (["run", "--out", "run"], "error: report --out: run: the report is a page"),
        (["run", "--out", "run/config.yaml/x.html"], "config.yaml is a file"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["report", *words])
        assert said in str(stopped.value.code)
    with RunRecord(run).pairs.open("a", encoding="utf-8") as file:
        file.write("\x1b[31mnonsense\n")
    with pytest.raises(SystemExit) as stopped:
        main(["report", "run"])
    assert str(stopped.value.code) == "error: run/record/pairs.jsonl, line 301: no JSON object: the file is damaged"


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch) -> None:
    run = write_run(tmp_path / "run")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device", str(run / "report.html"))

    monkeypatch.setattr("dpo_lightning.cli.commands.report.write_report", full)
    with pytest.raises(InputError, match=r"report\.html: No space left on device: name one with --out"):
        report([str(run)])
