"""The config of the loop is read as it stands there, or refused with its key."""

from __future__ import annotations

import pytest
import yaml

from dpo_lightning.cli.loop.settings import Loop, read_config
from dpo_lightning.errors import InputError
from tests.cli.loop.a_loop import config, written


def test_a_config_is_read(tmp_path):
    file = written(tmp_path)
    file.write_text(file.read_text().replace("lr: 0.01", "lr: 1e-6"))
    found = read_config(file, "elsewhere")
    assert found.loop == Loop("model", "prompts.jsonl", 2, "elsewhere", 6)
    assert found.options["generate"]["samples"] == 4
    assert found.fit["model"]["optimizer"]["init_args"]["lr"] == 1e-6  # YAML 1.1 has a text here
    assert read_config(file, None).loop.out == "out"


def test_the_fit_may_be_in_a_file_of_its_own(tmp_path):
    own = tmp_path / "fit.yaml"
    own.write_text(yaml.safe_dump(config()["fit"]))
    assert read_config(written(tmp_path, fit=str(own)), None).fit == config()["fit"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"round": {}}, "round: no section of it; did you mean `rounds`?"),
        ({"rounds__numbers": 3}, "rounds.numbers: no such key; did you mean `number`?"),
        ({"rounds__policy": None}, "rounds.policy: give the model that the first round begins with, got None"),
        ({"rounds__prompts": ["a"]}, "rounds.prompts: give a file of prompts, got ['a']"),
        ({"rounds__number": 0}, "rounds.number must be at least 1, got 0"),
        ({"rounds__number": "two"}, "rounds.number"),
        ({"rounds__prompts_per_round": -1}, "prompts_per_round must be at least 1, got -1"),
        ({"rounds__reference": "second"}, "rounds.reference"),
        ({"rounds__kl": "maybe"}, "rounds.kl"),
        ({"generate": [1]}, "generate must be a mapping of options, got [1]"),
        ({"fit": None}, "fit: give a config of fit, or the path of one, got None"),
        ({"fit": "nowhere.yaml"}, "config nowhere.yaml: No such file or directory"),
    ],
)
def test_what_is_no_config_is_refused_in_one_line(tmp_path, changes, line):
    with pytest.raises(InputError) as refused:
        read_config(written(tmp_path, **changes), None)
    assert line in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_key_twice_is_refused(tmp_path):
    file = written(tmp_path)
    file.write_text(file.read_text().replace("  number: 2\n", "  number: 2\n  number: 3\n"))
    with pytest.raises(InputError, match="the key `number` stands in line"):
        read_config(file, None)
