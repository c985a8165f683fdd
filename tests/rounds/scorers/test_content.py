"""Content of models."""

from __future__ import annotations

from pathlib import Path

from dpo_lightning.rounds.scorers.content import content_of_model, made_of_model


def test_content_is_that_of_all_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep/weights").write_bytes(b"abc")
    one, two = (str(tmp_path / name) for name in ("one", "two"))
    assert content_of_model(one) == content_of_model(two) is not None
    (tmp_path / "two/deep/weights").write_bytes(b"abd")
    assert content_of_model(one) != content_of_model(two)
    assert content_of_model(f"{one}/deep/weights") != content_of_model(f"{two}/deep/weights")
    assert made_of_model("run", "org/name") == {"run": "org/name", "run_content": None}
