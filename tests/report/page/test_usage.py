"""Code that loads, and all that a second run needs."""

from __future__ import annotations

import ast
import html
import re

from dpo_lightning.report.page.usage import cost_in_words, loading, reproducing
from tests.report.page.common import run, words


def blocks(parts) -> list[str]:
    return [html.unescape(each) for each in re.findall(r"<pre class='example'>(.*?)</pre>", "".join(parts), re.DOTALL)]


def test_a_model_is_loaded_with_transformers_and_an_adapter_with_peft() -> None:
    (code,) = blocks(loading(run(facts={"places": {"export": "it's/model"}})))
    ast.parse(code)
    assert 'AutoModelForCausalLM.from_pretrained("it\'s/model")' in code
    (code,) = blocks(loading(run(facts={"places": {"export": "a"}, "model": {"lora": "rank 8"}})))
    ast.parse(code)
    assert "AutoPeftModelForCausalLM" in code


def test_a_checkpoint_is_loaded_and_exported() -> None:
    code, command = blocks(loading(run(facts={"places": {"checkpoint": "a b.ckpt", "config": "c d.yaml"}})))
    ast.parse(code)
    assert command == "dpo-lightning export 'a b.ckpt' --config 'c d.yaml' --out model"
    assert "neither an export nor a checkpoint" in words(loading(run()))


def test_the_command_is_as_one_types_it_without_secrets() -> None:
    facts = {
        "command": ["dpo-lightning", "fit", "--config", "my run.yaml", f"--data.load_options.token={'hf_' + 'a' * 30}"],
        "seed": 0,
        "versions": {"torch": "2"},
        "data": {"fingerprint": "ab12"},
        "model": {"fingerprint": "cd34"},
    }
    source = "".join(reproducing(run(facts=facts)))
    assert blocks([source]) == ["dpo-lightning fit --config 'my run.yaml' '--data.load_options.token=***'"]
    assert all(part in words([source]) for part in ("seed 0", "torch 2", "ab12", "cd34"))
    assert "not started by the command" in words(reproducing(run()))


def test_cost_is_told_as_far_as_it_is_known() -> None:
    said = words(cost_in_words(run(facts={"seconds": 60.0, "step": 30, "memory_peak": 3 * 2**30})))
    assert said == "seconds a step 2, validation and samples included peak memory 3.00 GiB"
    assert words(cost_in_words(run(facts={"seconds": 60.0, "step": 0}))) == ""


def test_a_command_that_an_earlier_version_recorded_shows_no_secret() -> None:
    found = "".join(reproducing(run(facts={"command": ["dpo-lightning", "fit", "--a.token", "plainpass1234"]})))
    assert "plainpass1234" not in found
    assert "--a.token" in found
