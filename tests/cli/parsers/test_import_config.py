"""The arguments of `import`."""

from __future__ import annotations

from pathlib import Path

from dpo_lightning.cli.parsers.import_config import parser


def test_fields_are_left_out_one_by_one() -> None:
    options = parser().parse_args(["trl", "c.yaml", "--leave_out", "a", "--leave_out", "b"])
    assert (options.tool, options.config, options.out) == ("trl", Path("c.yaml"), Path("run.yaml"))
    assert options.leave_out == ["a", "b"]
    assert parser().parse_args(["trl", "c.yaml"]).leave_out == []
