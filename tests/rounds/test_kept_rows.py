"""A file that is written row by row."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dpo_lightning.errors import InputError
from dpo_lightning.rounds.kept_rows import content_of, kept_rows

MADE = {"seed": 0, "prompts": "abc"}
WRITER = """
import sys, time
from pathlib import Path
from dpo_lightning.rounds.kept_rows import kept_rows
with kept_rows(Path(sys.argv[1]), {"seed": 0}, "--out") as rows:
    for number in range(rows.done, 50):
        rows.add([{"row": number}])
        time.sleep(0.05)
"""


def test_rows_take_their_name_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "made" / "rows.jsonl"
    with kept_rows(path, MADE, "--out") as rows:
        rows.add([{"row": 0}, {"row": "ü"}])
        assert not path.exists()
        assert rows.done == 2
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [{"row": 0}, {"row": "ü"}]
    with kept_rows(path, MADE, "--out") as rows:
        assert rows.whole
        assert rows.done == 2


def test_an_error_keeps_what_is_there_and_half_a_row_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(TypeError), kept_rows(path, MADE, "--out") as rows:  # noqa: PT012 - the block is the subject
        rows.add([{"row": 0}])
        rows.add([{"row": object()}])
    with (tmp_path / ".rows.jsonl.part").open("a") as part:
        part.write('{"row": ')
    with kept_rows(path, MADE, "--out") as rows:
        assert rows.done == 1
        assert not rows.whole
        rows.add([{"row": 1}])
    assert path.read_text() == '{"row": 0}\n{"row": 1}\n'


def test_a_whole_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with kept_rows(path, MADE, "--out") as rows:
        rows.add([{"row": 0}, {"row": 1}])
    path.write_text(path.read_text().rstrip("\n"))  # as some editors do
    with kept_rows(path, MADE, "--out") as rows:
        assert (rows.whole, rows.done) == (True, 2)
    assert path.read_text() == '{"row": 0}\n{"row": 1}'


def test_other_settings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with kept_rows(path, MADE, "--out") as rows:
        rows.add([{}])
    with pytest.raises(InputError, match=r"seed 0, not 1.*delete"), kept_rows(path, {**MADE, "seed": 1}, "--out"):
        pass
    (tmp_path / ".rows.jsonl.made").unlink()
    with pytest.raises(InputError, match="nothing says what it was made of"), kept_rows(path, MADE, "--out"):
        pass
    assert path.read_text() == "{}\n"


def test_a_block_that_fails_before_the_first_row_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(ValueError, match="no model"), kept_rows(path, MADE, "--out"):
        raise ValueError("no model")
    assert not [*tmp_path.iterdir()]
    (tmp_path / ".rows.jsonl.part").touch()  # of one that was killed there
    with kept_rows(path, {**MADE, "seed": 1}, "--out") as rows:
        rows.add([{}])
    assert path.read_text() == "{}\n"


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with kept_rows(path, MADE, "--out") as rows:
        with pytest.raises(InputError, match="another process is writing it"), kept_rows(path, MADE, "--out"):
            pass
        rows.add([{}])
    assert path.exists()
    assert not list(tmp_path.glob(".*.lock"))


def test_a_killed_writer_goes_on(tmp_path: Path) -> None:
    path, part = tmp_path / "rows.jsonl", tmp_path / ".rows.jsonl.part"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
    while not part.exists() or part.read_bytes().count(b"\n") < 5:
        time.sleep(0.02)
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not path.exists()
    subprocess.run([sys.executable, "-c", WRITER, str(path)], check=True)
    assert [json.loads(line)["row"] for line in path.read_text().splitlines()] == list(range(50))


def test_content_is_that_of_the_bytes(tmp_path: Path) -> None:
    for name, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).write_text(text)
    found = [content_of(tmp_path / name, "FILE") for name in "abc"]
    assert found[0] == found[1] != found[2]
    with pytest.raises(InputError, match=r"FILE .*No such file"):
        content_of(tmp_path / "d", "FILE")
