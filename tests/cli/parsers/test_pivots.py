"""The arguments of `pivots`: what is left out, and what is missing."""

from __future__ import annotations

import pytest

from dpo_lightning.cli.parsers.pivots import parser


def test_what_is_left_out_has_a_default() -> None:
    found = parser().parse_args(["a.jsonl", "--out", "b.jsonl", "--policy", "m", "--threshold", "1"])
    assert (found.gap, found.between, found.alternatives, found.samples) == (0.2, [0.2, 0.8], 3, 32)
    assert (found.max_new_tokens, found.temperature, found.seed) == (256, 1.0, 0)
    assert found.server is found.server_model is found.policy_config is found.function is None


def test_what_is_missing_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(["a.jsonl", "--out", "b.jsonl", "--policy", "m"])
    assert capsys.readouterr().err == "error: the following arguments are required: --threshold\n"
