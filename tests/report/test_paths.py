"""Paths that a page may show to anybody."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dpo_lightning.report.paths import portable, typed

HOME, STARTED_IN = "/home/ann", "/home/ann/work/dpo"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (f"{STARTED_IN}/runs/a/last.ckpt", "runs/a/last.ckpt"),
        (STARTED_IN, "."),
        (f"{STARTED_IN}2/runs", "~/work/dpo2/runs"),
        (f"{HOME}/models/base", "~/models/base"),
        (HOME, "~"),
        ("/home/anna/x", "~/x"),
        ("/Users/bob/x", "~/x"),
        (r"C:\Users\bob\x", r"~\x"),
        ("/scratch/ann/x", "/scratch/$USER/x"),
        ("/data/channel/x", "/data/channel/x"),
        ("meta/llama", "meta/llama"),
        (f"--model.policy={STARTED_IN}/m", "--model.policy=m"),
        (f"FileNotFoundError: '{HOME}/a b.json'", "FileNotFoundError: '~/a b.json'"),
        (f"{STARTED_IN}/a.jsonl, {HOME}/b.jsonl", "a.jsonl, ~/b.jsonl"),
        ("hf://datasets/ann/x", "hf://datasets/ann/x"),
        ("https://hub/home/x", "https://hub/home/x"),
        (3, 3),
    ],
)
def test_a_path_is_relative_and_names_no_user(path, said) -> None:
    assert portable({"a": [path]}, STARTED_IN, HOME) == {"a": [said]}


def test_without_knowledge_of_the_run_homes_are_known_by_their_look() -> None:
    assert portable(f"{STARTED_IN}/x", None, None) == "~/work/dpo/x"
    assert portable("/a/b", "/", "/") == "/a/b"


def test_a_shell_takes_a_word_for_the_file_that_it_is(tmp_path: Path) -> None:
    for word, meant in (
        ("~/a b", f"{tmp_path}/a b"),
        ("--x=~/a'b", f"--x={tmp_path}/a'b"),
        ("a~/b c", "a~/b c"),
        ("/s/$USER/a b", "/s/ann/a b"),
        ("", ""),
    ):
        done = subprocess.run(
            ["sh", "-c", f"printf %s {typed(word)}"],
            env={"HOME": str(tmp_path), "USER": "ann"},
            capture_output=True,
            check=True,
        )
        assert done.stdout.decode() == meant
