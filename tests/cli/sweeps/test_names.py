"""Names of the runs of a sweep."""

from __future__ import annotations

import re
from itertools import combinations

from dpo_lightning.cli.sweeps.axes import Axis
from dpo_lightning.cli.sweeps.names import run_name, short_keys, short_value, shown_value


def keys(*names: str) -> list[str]:
    """Short keys of axes of these names."""
    return short_keys([Axis(name, ("1",)) for name in names])


def test_a_key_is_the_shortest_end_that_no_other_has() -> None:
    assert keys("model.objective.init_args.beta", "seed_everything") == ["beta", "seed"]
    assert keys("model.optimizer.init_args.lr", "model.schedule.lr") == ["optimizer.lr", "schedule.lr"]
    assert keys("seed_everything", "data.seed") == ["seed_everything", "data.seed"]
    assert keys("data.seed") == ["seed"]


def test_plain_values_stay_and_others_are_safe_and_told_apart() -> None:
    plain = ["0.1", "1e-5", "DPO", "null", "-1", "pairs.jsonl"]
    assert [short_value(value) for value in plain] == plain
    odd = [
        "../x",
        "a/b",
        "a b",
        "{class_path: DPO, init_args: {beta: 0.1}}",
        "[1, 2]",
        "a,b",
        "a=b",
        "",
        "é",
        "x" * 500,
    ]
    odd += ["{class_path: DPO, init_args: {beta: 0.2}}", "a\nb", "-1", "..", "y" + "x" * 499]
    names = [short_value(value) for value in odd]
    assert all(re.fullmatch(r"[A-Za-z0-9.+_-]{1,60}", name) for name in names), names
    assert all(one.lower() != other.lower() for one, other in combinations(names, 2))
    assert names[3].startswith("DPO-beta-0.1-")


def test_a_name_fits_every_file_system() -> None:
    assert run_name(["beta", "seed"], ["0.1", "3"]) == "beta=0.1,seed=3"
    long = run_name([f"key{n}" for n in range(20)], ["v" * 30] * 20)
    assert len(long) <= 150
    assert long != run_name([f"key{n}" for n in range(20)], [*["v" * 30] * 19, "w"])
    assert shown_value("{r: 4}") == "{r: 4}"
