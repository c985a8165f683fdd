"""Runs are found by what one has at hand, and read whatever state their files are in."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.report.page.whole import run_page
from dpo_lightning.report.record import RunRecord, write_document, write_rows
from dpo_lightning.report.runs import Run, finite, names_of, runs_at
from tests.helpers.recorded import write_run


def record_at(directory: Path) -> Path:
    write_document(RunRecord(directory).facts, {"format": 1})
    return directory


def test_a_run_is_found_by_its_directory_its_record_and_its_checkpoint(tmp_path: Path) -> None:
    run = record_at(tmp_path / "lightning_logs" / "version_0")
    (run / "checkpoints").mkdir()
    file = run / "checkpoints" / "last.ckpt"
    file.touch()
    for path in (run, run / "record", run / "record" / "run.json", run / "checkpoints", file):
        assert [each.resolve() for each in runs_at(path)] == [run]


def test_a_run_is_found_by_a_checkpoint_that_lies_elsewhere(tmp_path: Path, monkeypatch) -> None:
    saved = tmp_path / "runs" / "dpo" / "checkpoints"
    saved.mkdir(parents=True)
    for name in ("step=10.ckpt", "step=20.ckpt", "last.ckpt"):
        (saved / name).touch()
    runs = [tmp_path / "lightning_logs" / f"version_{number}" for number in (8, 9, 10, 11)]
    for run, name in zip(runs, ("dpo/checkpoints/step=10", "dpo/checkpoints/step=20", "ipo/last", ""), strict=True):
        places = {"checkpoint": str(tmp_path / "runs" / f"{name}.ckpt")} if name else {}
        write_document(RunRecord(run).facts, {"format": 1, "places": places})
    monkeypatch.chdir(tmp_path)
    place = Path("runs/dpo/checkpoints")
    assert runs_at(place / "step=10.ckpt") == [runs[0]]
    assert runs_at(place) == runs_at(place / "last.ckpt") == [runs[1]]  # the last one that saved there
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert runs_at(saved) == [runs[1]]
    (tmp_path / "runs" / "kto").mkdir()
    (tmp_path / "runs" / "kto" / "last.ckpt").touch()
    with pytest.raises(InputError, match=r"none in lightning_logs names it .*: give a run's, as lightning_logs/v"):
        runs_at(tmp_path / "runs" / "kto" / "last.ckpt")


def test_a_directory_of_runs_names_them_in_order(tmp_path: Path) -> None:
    runs = [record_at(tmp_path / f"version_{number}") for number in (10, 9, 2)]
    (tmp_path / "checkpoints").mkdir()
    assert runs_at(tmp_path) == runs[::-1]


def test_one_run_further_below_is_meant(tmp_path: Path) -> None:
    run = record_at(tmp_path / "a" / "lightning_logs" / "version_0")
    assert runs_at(tmp_path / "a") == [run]


def test_what_is_no_run_is_refused_with_those_below(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such directory"):
        runs_at(tmp_path / "nowhere")
    with pytest.raises(InputError, match="none lies below"):
        runs_at(tmp_path)
    for name in "ab":
        record_at(tmp_path / name / "lightning_logs" / "version_0")
    with pytest.raises(InputError, match=r"the runs below it are .*a/lightning_logs/version_0, .*b/lightning_logs/v"):
        runs_at(tmp_path)


def test_names_are_as_short_as_tells_them(tmp_path: Path) -> None:
    def names(*paths: str) -> list[str]:
        return names_of([tmp_path / each for each in paths])

    assert names("a/lightning_logs/version_0", "b/lightning_logs/version_0") == ["a", "b"]
    assert names("logs/version_0", "logs/version_1") == ["version_0", "version_1"]
    assert names("a/logs/version_0", "a/logs/version_1", "b/logs/version_0") == [
        "a/logs/version_0",
        "a/logs/version_1",
        "b/logs/version_0",
    ]
    assert names("a") == ["a"]
    assert names("a", "a") == ["a", "a (2)"]
    assert names("a", "a/b") == ["a", "b"]


def test_all_files_are_read(tmp_path: Path) -> None:
    run = Run.read(write_run(tmp_path / "run"))
    assert run.title == "DPO of models/tiny"
    assert run.metrics["train/loss"][0] == (0.0, pytest.approx(0.693, abs=0.001))
    assert run.last("val/rewards/accuracies") == pytest.approx(0.8, abs=0.1)
    assert (len(run.pairs), len(run.worst), len(run.samples), len(run.hints)) == (300, 20, 20, 1)
    assert run.of("model", "class") == "LlamaForCausalLM"
    assert run.of("model", "class", "x") is None
    assert run.config is not None
    assert run.config["data"]["init_args"]["load_options"]["token"] == "***"


def test_paths_are_those_that_anybody_may_see(tmp_path: Path) -> None:
    """No page of a run of Ann's says her name or where her files lie."""
    places = {
        "started_in": str(tmp_path),
        "home": "/home/ann",
        "config": str(tmp_path / "run" / "config.yaml"),
        "checkpoint": str(tmp_path / "runs" / "last.ckpt"),
        "export": "/home/ann/models/dpo",
    }
    model = {"name": "/scratch/ann/base"}
    command = ["/home/ann/.venv/bin/dpo-lightning", "fit", f"--config={tmp_path}/run.yaml"]
    write_run(tmp_path / "run", places=places, model=model, command=command)
    page = run_page(Run.read(tmp_path / "run"))
    assert "ann" not in page.replace("cannot", "").replace("channel", "")
    assert str(tmp_path) not in page
    for said in ("&quot;$HOME&quot;/.venv/bin/dpo-lightning fit --config=run.yaml", "runs/last.ckpt", "~/models/dpo"):
        assert said in page


def test_a_run_with_nothing_has_nothing(tmp_path: Path) -> None:
    run = Run.read(tmp_path)
    assert (run.facts, run.metrics, run.data, run.config) == ({}, {}, None, None)
    assert (run.title, run.last("train/loss")) == (tmp_path.name, None)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("record/metrics.jsonl", '{"step": 1}\n{"step": "x"}\n', r"metrics\.jsonl, line 2: `step` is a str"),
        ("record/metrics.jsonl", '{"step": 1}\nx\n{"step": 3}\n', r"metrics\.jsonl, line 2: no JSON object"),
        ("record/pairs.jsonl", '{"rewards/chosen": [1]}\n', r"pairs\.jsonl, line 1: `rewards/chosen` is a list"),
        ("record/worst.jsonl", '{"prompt": 3}\n', r"worst\.jsonl, line 1: `prompt` is a int"),
        ("record/samples.jsonl", '{"policy": "x"}\n', r"samples\.jsonl, line 1: `policy` is a str"),
        ("record/hints.jsonl", '{"text": {}}\n', r"hints\.jsonl, line 1: `text` is a dict"),
        ("record/run.json", '{"model": "x"}', r"run\.json: `model` is a str"),
        ("record/run.json", "{", r"run\.json: cannot be read"),
        ("record/data.json", '{"findings": {}}', r"data\.json: `findings` is a dict"),
        ("config.yaml", "a: [", r"config\.yaml: cannot be read"),
        ("record/run.json", '{"a": ' + "[" * 100_000, "lists in lists"),
        ("config.yaml", "a: " + "[" * 5_000, "lists in lists"),
        ("config.yaml", "- 1", r"config\.yaml: a list, not a mapping"),
    ],
)
def test_a_damaged_file_is_one_line_with_its_place(tmp_path: Path, name, content, said) -> None:
    path = record_at(tmp_path) / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=said) as refused:
        Run.read(tmp_path)
    assert "\n" not in str(refused.value)


def test_what_is_no_finite_number_is_none(tmp_path: Path) -> None:
    assert [finite(each) for each in (1, 2.5, True, "1", None, float("inf"), float("nan"), 10**400, 1e200)] == [
        1.0,
        2.5,
        *[None] * 7,
    ]
    RunRecord(tmp_path).folder.mkdir()
    RunRecord(tmp_path).points.write_text('{"step": 2, "a": NaN}\n{"step": 1, "a": 3}\n{"a": 4}\n', encoding="utf-8")
    assert Run.read(tmp_path).metrics == {"a": [(1.0, 3.0), (2.0, None)]}


def test_a_file_that_a_kill_has_cut_is_read_to_its_last_line(tmp_path: Path) -> None:
    points = RunRecord(tmp_path).points
    write_rows(points, [{"step": 1, "a": 1.0}])
    with points.open("a", encoding="utf-8") as file:
        file.write('{"step": 2, "a"')
    assert Run.read(tmp_path).metrics == {"a": [(1.0, 1.0)]}
