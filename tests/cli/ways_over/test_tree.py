"""A config under construction becomes YAML with a comment on each line."""

from __future__ import annotations

import yaml

from dpo_lightning.cli.ways_over.tree import From, made, plain, written

TREE = {
    "trainer": {
        "callbacks": [
            made("Export", "output_dir", path=From("out/model", "output_dir")),
            made("Plain", "b", name=From("no", "c")),
        ]
    },
    "model": {"betas": From([0.9, 1e-8], "beta"), "empty": {}},
    "seed_everything": From(3, ""),
}


def test_what_is_written_is_read_as_it_was() -> None:
    text = written(TREE, ["A heading."])
    assert yaml.safe_load(text) == plain(TREE)
    assert list(yaml.safe_load(text)) == ["seed_everything", "model", "trainer"]


def test_comments_stand_below_each_other() -> None:
    lines = written(TREE, ["A heading."]).splitlines()
    assert lines[0] == "# A heading."
    assert lines[1] == "seed_everything: 3"
    assert "  betas: [0.9, 1.0e-08]                      # beta" in lines
    assert "    - class_path: Export                     # output_dir" in lines
    assert "        name: 'no'                           # c" in lines


def test_an_object_without_arguments_has_its_class_alone() -> None:
    assert made("SFT", "loss_type") == {"class_path": ("SFT", "loss_type")}
