"""What `generate` prints is what plain transformers generates from the exported model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from dpo_lightning import FrozenAdapter, LoRA, Precomputed
from dpo_lightning.callbacks import Export, ResumableCheckpoint
from dpo_lightning.cli.main import main
from tests.helpers.endpoint import stand_in
from tests.helpers.runs import data, module, saved_model, trainer
from tests.helpers.shards import write_shards

TEXTS = ["the sun sun:", "the moon"]
CHAT = "{% for m in messages %}{{ m['role'] + '\n' + m['content'] + '\n' }}{% endfor %}{{ 'assistant\n' }}"


def ran(path: Path, **settings: Any) -> Path:
    """A run that saves a checkpoint and exports what it has trained."""
    saving = ResumableCheckpoint(str(path / "checkpoints"), every_n_train_steps=3)
    model = module(saved_model(path / "model"), lr=5e-2, **settings)
    fitting = trainer(callbacks=[Export(str(path / "out")), saving], enable_checkpointing=True)
    fitting.fit(model, data(path, tokenizer=None))
    return path / "checkpoints/step=3.ckpt"


def greedy(model: Any, texts: list[str], directory: Path) -> list[list[str]]:
    """Plain transformers, one prompt after the other."""
    tokenizer, found = AutoTokenizer.from_pretrained(directory), []
    for text in texts:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        whole = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, pad_token_id=2
        )
        found.append([tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)])
    return found


def said(capsys: pytest.CaptureFixture[str], *words: object) -> list[dict[str, Any]]:
    """What the command prints as JSON, greedily."""
    capsys.readouterr()
    asked = [word for text in TEXTS for word in ("--prompt", text)]
    words = (*asked, "--temperature", "0", "--max_new_tokens", "12", "--json", *words)
    main(["generate", *map(str, words)])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["prompt"] for row in rows[:2]] == TEXTS
    return rows


def test_a_checkpoint_says_what_its_export_says_and_its_reference_what_the_base_says(tmp_path, capsys):
    checkpoint = ran(tmp_path)
    shards = write_shards(torch.load(checkpoint, weights_only=True), tmp_path / "shards")
    trained = greedy(AutoModelForCausalLM.from_pretrained(tmp_path / "out"), TEXTS, tmp_path / "out")
    base = greedy(AutoModelForCausalLM.from_pretrained(tmp_path / "model"), TEXTS, tmp_path / "model")
    for source in (checkpoint, shards, tmp_path / "out"):
        rows = said(capsys, source)
        assert [row["policy"] for row in rows] == trained != base
        assert [row["reference"] for row in rows] == [None, None]
    assert [row["reference"] for row in said(capsys, checkpoint, "--reference")] == base


@pytest.mark.parametrize("reference", [None, FrozenAdapter(), "precomputed"], ids=str)
def test_an_adapter_beside_what_it_was_before(tmp_path, capsys, reference):
    reference = Precomputed(str(tmp_path / "cache")) if reference == "precomputed" else reference
    checkpoint = ran(tmp_path, lora=LoRA(r=4), reference=reference)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    before = greedy(base, TEXTS, tmp_path / "model")
    trained = greedy(PeftModel.from_pretrained(base, tmp_path / "out"), TEXTS, tmp_path / "out")
    for source in (checkpoint, tmp_path / "out"):
        rows = said(capsys, source, "--reference")
        assert [row["policy"] for row in rows] == trained != before
        assert [row["reference"] for row in rows] == before


def test_a_text_is_a_users_message_where_there_is_a_chat_template(tmp_path, capsys):
    out = Path(saved_model(tmp_path / "model", initializer_range=0.6))
    tokenizer = AutoTokenizer.from_pretrained(out)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(out)
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    lines = [{"prompt": "sun"}, {"messages": messages}, "moon"]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = said(capsys, out, "--prompts", tmp_path / "asked.jsonl")
    assert [row["prompt"] for row in rows[2:]] == ["sun", messages, "moon"]
    written = [f"user\n{text}\nassistant\n" for text in [*TEXTS, "sun"]]
    written += ["user\nhi\nassistant\nho\nassistant\n", "user\nmoon\nassistant\n"]
    model = AutoModelForCausalLM.from_pretrained(out)
    assert [row["policy"] for row in rows] == greedy(model, written, out)
    assert [row["policy"] for row in said(capsys, out, "--plain")] == greedy(model, TEXTS, out)


def test_lines_for_people_and_samples_that_the_seed_decides_on(tmp_path, capsys):
    out = saved_model(tmp_path / "model")
    seen = []
    for seed in ("1", "1", "2"):
        main(["generate", out, "--prompt", "the sun", "--samples", "3", "--max_new_tokens", "9", "--seed", seed])
        seen.append(capsys.readouterr().out)
    assert seen[0] == seen[1] != seen[2]
    assert seen[0].startswith("prompt: the sun\npolicy: ")
    assert seen[0].count("\npolicy: ") == 3


def test_a_file_holds_what_plain_transformers_says(tmp_path, capsys):
    model = saved_model(tmp_path / "model")
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps({"prompt": text, "chosen": "a"}) + "\n" for text in TEXTS))
    words = ["generate", model, "--prompts", str(tmp_path / "asked.jsonl"), "--temperature", "0"]
    words += ["--max_new_tokens", "12", "--out", str(tmp_path / "out.jsonl")]
    main(words)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["completions"] for row in rows] == greedy(AutoModelForCausalLM.from_pretrained(model), TEXTS, model)
    assert [set(row) for row in rows] == [{"prompt", "completions", "ended", "model"}] * 2
    said = capsys.readouterr()
    assert said.out.startswith(f"2 completions of 2 prompts in {tmp_path / 'out.jsonl'}: ")
    assert "left out of the rows, as they are others' answers: chosen" in said.err
    main(words)
    assert ", 2 of them from before in " in capsys.readouterr().out


def test_a_server_in_place_of_a_model(tmp_path, capsys):
    with stand_in() as server:
        words = ["generate", "--endpoint", server.url, "--model", "tiny", "--prompt", "hi", "--samples", "2"]
        main([*words, "--json"])
        row = json.loads(capsys.readouterr().out)
        assert (row["prompt"], len(row["policy"])) == ([{"role": "user", "content": "hi"}], 2)
        main([*words, "--out", str(tmp_path / "out.jsonl"), "--requests_at_once", "1", "--timeout", "9"])
        assert json.loads((tmp_path / "out.jsonl").read_text())["completions"] == row["policy"]
        assert capsys.readouterr().out.endswith(": 100% ended by themselves\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--prompt", "a"], "give a checkpoint or a model, or --endpoint and --model: got neither"),
        (["model", "--endpoint", "http://a", "--prompt", "a"], "--endpoint and --model: got both"),
        (["--endpoint", "http://a", "--prompt", "a"], "say which of its models: --model NAME"),
        (["--endpoint", "a", "--model", "b", "--prompt", "a"], "give an address that begins with http"),
        (["--endpoint", "http://a", "--model", "b", "--prompt", "a", "--reference"], "--reference: nothing reads it"),
        (["--endpoint", "http://a", "--model", "b", "--prompt", "a", "--samples_at_once", "2"], "--samples_at_once: "),
        (["model", "--prompt", "a", "--timeout", "3"], "--timeout: nothing reads it: it is for --endpoint"),
        (["model", "--prompt", "a", "--model", "b"], "--model: nothing reads it"),
        (["model", "--prompt", "a", "--top_p", "0"], "--top_p must be in (0, 1], got 0.0"),
        (["model", "--prompt", "a", "--top_p", "0.5", "--temperature", "0"], "--top_p: at temperature 0 nothing is"),
        (["model", "--prompt", "a", "--json", "--out", "o.jsonl"], "--json: it prints, and --out writes"),
        (["model", "--prompts", "wrong.jsonl", "--out", "./wrong.jsonl"], "is the file of the prompts"),
        (["model", "--prompt", "a", "--out", "model"], "generate --out"),
        (["model", "--prompts", "a.parquet"], "rows of JSON are read"),
        (["model"], "say what to continue: --prompt TEXT, or --prompts FILE"),
        (["model", "--prompts", "none.jsonl"], "generate --prompts none.jsonl: "),
        (["model", "--prompts", "wrong.jsonl"], 'generate --prompts wrong.jsonl, line 2: no prompt: write {"prompt"'),
        (["model", "--prompt", "a", "--samples", "0"], "generate --samples must be at least 1, got 0"),
        (["model", "--prompt", "a", "--samples", "2", "--temperature", "0"], "2 completions at temperature 0 are all"),
        (["model", "--prompt", "a", "--reference"], "model is a whole model, and no reference is beside it"),
        (["model", "--prompts", "chat.jsonl"], "the chat template cannot write a prompt: "),
        (["nowhere", "--prompt", "a"], "nowhere"),
        (["missing.ckpt", "--prompt", "a"], "generate: there is no checkpoint missing.ckpt: give a checkpoint, or"),
        (["wrong.jsonl", "--prompt", "a"], "checkpoint wrong.jsonl"),
        (["model", "--prompt", "a", "--config", "none.yaml"], "generate --config none.yaml: "),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(tmp_path, monkeypatch, words, line):
    monkeypatch.chdir(tmp_path)
    saved_model(tmp_path / "model")
    (tmp_path / "wrong.jsonl").write_text('{"prompt": "a"}\n{"question": "b"}\n')
    (tmp_path / "chat.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}]}\n')
    with pytest.raises(SystemExit) as stopped:
        main(["generate", *words])
    said = str(stopped.value.code)
    assert said.startswith("error: ")
    assert line in said
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.glob("*o.jsonl*"))
