"""Real configs become configs that `fit` parses, and files that are none are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dpo_lightning.cli.ways_over.conversion import convert
from dpo_lightning.cli.ways_over.files import write_config
from dpo_lightning.cli.ways_over.tree import plain
from dpo_lightning.cli.ways_over.trl import TOOL
from dpo_lightning.errors import InputError
from tests.helpers.ways_over import of_trl

CONFIGS = {path.stem: path for path in sorted((Path(__file__).parent / "configs").glob("*.yaml"))}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_real_config_is_taken_by_fit(name: str, tmp_path: Path) -> None:
    config = yaml.safe_load(CONFIGS[name].read_text())
    draft = convert(TOOL, config, name, [each for each in ("push_to_hub",) if each in config])
    write_config(tmp_path / "run.yaml", draft.tree, [])
    found: dict[str, Any] = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert found == plain(draft.tree)
    assert found["model"]["policy"] == config["model_name_or_path"]
    assert found["model"]["optimizer"]["init_args"]["lr"] == config["learning_rate"]
    commented = [line for line in (tmp_path / "run.yaml").read_text().splitlines() if line.rstrip()[-1] != ":"]
    assert [line for line in commented if "#" not in line] == []


def test_a_config_of_accelerate_is_known() -> None:
    with pytest.raises(InputError, match=r"this is a config of accelerate.*configs/hardware"):
        convert(TOOL, {"compute_environment": "LOCAL_MACHINE", "num_processes": 8}, "zero3.yaml")


def test_the_ratio_counts_where_no_steps_are_given() -> None:
    for fields, warmup in (({"warmup_ratio": 0.2}, 0.2), ({"warmup_ratio": 0.2, "warmup_steps": 4}, 4)):
        assert plain(of_trl(**fields).tree)["model"]["schedule"]["init_args"]["warmup"] == warmup
