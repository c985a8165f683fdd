"""Keys of a config, as they were read from the parser."""

from __future__ import annotations

import json

from dpo_lightning.cli.keys import FILE, MOST_USED, REQUIRED, Key, all_keys


def test_a_key_is_what_stands_in_the_file() -> None:
    lines = json.loads(FILE.read_text(encoding="utf-8"))
    keys = list(all_keys())
    assert [each["name"] for each in lines] == [each.name for each in keys]
    assert next(each for each in keys if each.name == "model.policy").default == REQUIRED
    assert isinstance(keys[0].classes, tuple)


def test_the_section_is_the_first_part() -> None:
    assert Key("data.seed", "a whole number", "0", "Seed").section == "data"
    assert Key("ckpt_path", "text", "null", "Path").section == ""
    assert {each.section for each in all_keys()} == {"", *MOST_USED}
