"""`pivots` by the command, and a run on what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from dpo_lightning.cli.main import main
from tests.helpers.chains import saved_chain
from tests.helpers.endpoint import stand_in
from tests.helpers.tiny import tiny_tokenizer

CHAT = "{% for m in messages %}{{ m['content'] }}{{ ':' if m['role'] == 'user' else '!' }}{% endfor %}"
WORLD = {":": {"a": 1}, "a": {"y": 0.5, "n": 0.5}, "y": {"c": 1}, "n": {"c": 1}, "c": {"</s>": 1}}
ROW = {"prompt": [{"role": "user", "content": "sun"}], "completions": ["ayc", "anc"], "ended": [True, True]}
PAIR = [{"role": "user", "content": "sun"}, {"role": "assistant", "content": "a"}]
RUN = """
seed_everything: 1
model:
  policy: model
  objective: DPO
  optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 1.0e-3}}
data:
  dataset: pairs.jsonl
  eos: never
  batch_pairs: 2
trainer:
  max_steps: 2
  max_epochs: -1
  accelerator: cpu
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  callbacks: [{class_path: Export, init_args: {path: trained}}]
"""


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a model, answers, and what judges them."""
    monkeypatch.chdir(tmp_path)
    saved_chain(tmp_path / "model", WORLD, CHAT)
    rows = [{**ROW, "prompt": [{"role": "user", "content": word}]} for word in ("sun", "moon")]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "checks.py").write_text("def right(prompt, answer):\n    return float('y' in answer)\n")
    return tmp_path


WORDS = ["pivots", "samples.jsonl", "--out", "pairs.jsonl", "--function", "checks.py:right", "--threshold", "1"]


def test_pairs_that_a_run_trains_on(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*WORDS, "--policy", "model", "--max_new_tokens", "8"])
    said = capsys.readouterr().out.splitlines()
    assert "'a': 'y' succeeds in 100%, 'n' in 0%" in said
    assert "2 pairs of 2 rows in pairs.jsonl, to train on with --data.eos never" in said
    assert all(len(line) <= 80 for line in said)
    pairs = [json.loads(line) for line in (there / "pairs.jsonl").read_text().splitlines()]
    assert [(pair["prompt"][1], pair["chosen"], pair["rejected"]) for pair in pairs] == [(PAIR[1], "y", "n")] * 2
    (there / "run.yaml").write_text(RUN)
    main(["fit", "--config", "run.yaml"])
    before, after = (AutoModelForCausalLM.from_pretrained(there / name).lm_head.weight for name in ("model", "trained"))
    changed = (before != after).any(1).nonzero().flatten().tolist()
    assert {tiny_tokenizer().get_vocab()[each] for each in "yn"} <= set(changed)


def test_a_server_goes_on_in_place_of_the_model(there: Path) -> None:
    tokenizer = tiny_tokenizer()

    def world(request: dict[str, Any], number: int) -> str:
        """Go on as the model would: the first half with y, the other with n."""
        said = tokenizer.decode(request["prompt"])
        rest = {":": ("ayc", "anc"), "a": ("yc", "nc"), "y": ("c",) * 2, "n": ("c",) * 2, "c": ("",) * 2}[said[-1]]
        return rest[number % 2]

    with stand_in(world) as server:
        main([*WORDS, "--policy", "model", "--server", server.url, "--server_model", "tiny", "--samples", "8"])
        assert server.requests[0]["prompt"] == tokenizer("sun:")["input_ids"]
    pairs = [json.loads(line) for line in (there / "pairs.jsonl").read_text().splitlines()]
    assert pairs[0] == {
        "prompt": PAIR, "chosen": "y", "rejected": "n", "p_before": 0.5, "p_chosen": 1.0, "p_rejected": 0.0
    }  # fmt: skip
    assert len(pairs) == 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--policy", "model", "--gap", "0"], "pivots --gap must be in (0, 1], got 0.0"),
        (["--policy", "model", "--samples", "0"], "pivots --samples must be at least 1, got 0"),
        (["--policy", "model", "--temperature", "0"], "pivots --temperature must be a finite number greater than 0"),
        (
            ["--policy", "model", "--between", "0.8", "0.2"],
            "--between: give two chances from 0 to 1, the smaller first",
        ),
        (["--policy", "model", "--threshold", "nan"], "pivots --threshold must be a finite number, got nan"),
        (["--policy", "model", "--server", "http://a"], "--server: give its address and the name"),
        (["--policy", "model", "--server_key_variable", "A"], "--server_key_variable: nothing reads it without"),
        (["--policy", "model", "--out", "samples.jsonl"], "is the file that is read: give another path"),
        (["--policy", "model", "--judge", "m", "--endpoint", "http://a"], "--judge: a judge compares answers"),
        (["--policy", "model", "--endpoint", "http://a"], "--endpoint: a judge compares answers"),
        (["--policy", "model", "--function", "checks.py:wrong"], "checks.py:wrong: no wrong in checks.py"),
        (["--policy", "model", "--label", "1"], "pivots --label: nothing reads it with --function"),
        (["--policy", "nowhere.ckpt"], "pivots: there is no checkpoint nowhere.ckpt"),
        (["--policy", "model", "--out", "model"], "pivots --out"),
        (["--policy", "model", "--threshold", "2"], "no pair of pivotal tokens in 2 rows, 2 of them with a chance"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(there: Path, words: list[str], line: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*WORDS, "--max_new_tokens", "8", *words])
    said = str(stopped.value.code)
    assert said.startswith("error: ")
    assert line in said
    assert len(said.splitlines()) == 1
    assert not (there / "pairs.jsonl").exists()


def test_a_row_that_is_none_is_refused_with_its_line(there: Path) -> None:
    (there / "samples.jsonl").write_text(json.dumps(ROW) + '\n{"prompt": "a"}\n')
    with pytest.raises(SystemExit, match=r"pivots samples\.jsonl, line 2, completions: give a list of texts"):
        main([*WORDS, "--policy", "model"])
