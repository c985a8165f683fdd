"""`dpo-lightning plan`, as a user types it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml
from jsonargparse import Namespace
from transformers import AutoConfig

from dpo_lightning.cli.commands.plan import optimizer_states
from dpo_lightning.cli.main import main
from dpo_lightning.errors import InputError
from tests.helpers.tiny import tiny_tokenizer

HIDDEN, LAYERS, VOCABULARY = 1024, 8, 32_000


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config of a run whose model is a config file alone, and whose data is not there."""
    config = AutoConfig.for_model(
        "llama",
        hidden_size=HIDDEN,
        intermediate_size=2816,
        num_hidden_layers=LAYERS,
        num_attention_heads=16,
        num_key_value_heads=8,
        vocab_size=VOCABULARY,
        tie_word_embeddings=False,
    )
    config.save_pretrained(tmp_path / "model")
    run = {
        "model": {"policy": "model", "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-6}}},
        "data": {"dataset": "nowhere.jsonl", "batch_tokens": 6144, "max_length": 1024},
        "trainer": {"precision": "bf16-true", "accumulate_grad_batches": 2},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[str, dict[str, list[str]]]:
    """What the command prints, and the rows of its table."""
    before = sorted(Path().rglob("*"))
    main(["plan", "--config", "run.yaml", *flags])
    assert sorted(Path().rglob("*")) == before, "it wrote something"
    text = capsys.readouterr().out
    rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in text.splitlines() if line[:1] in "│┃"]
    return text, {row[0]: row[1:] for row in rows if row}


def gigabytes(parameters: float) -> str:
    return f"{2 * parameters / 1e9:.1f}"


def test_a_full_run(project, capsys):
    text, rows = printed(capsys)
    layer = HIDDEN * (2 * 1024 + 2 * 512 + 3 * 2816) + 2 * HIDDEN
    parameters = LAYERS * layer + 2 * VOCABULARY * HIDDEN + HIDDEN
    assert f"{parameters / 1e6:.3g} M parameters, all trained; reference FrozenCopy; bf16-true; H100" in text
    assert rows["GB a GPU"][:4] == ["1 GPU", "8 DDP", "8 FSDP2", "64 DDP"]
    assert rows["policy"][:3] == [gigabytes(parameters), gigabytes(parameters), gigabytes(parameters / 8)]
    assert rows["reference"][0] == rows["gradients"][0] == rows["policy"][0]
    assert rows["optimizer"][0] == gigabytes(2 * parameters)
    assert rows["pairs/step"][:2] == ["8", "64"], "6144 tokens are 4 pairs of 512 + 2 x 512"
    tokens, scored = 2 * 6144, 2 * 4096
    attended = 8 * (512**2 / 2 + 2 * (512 * 512 + 512**2 / 2))
    body = 2 * LAYERS * (layer - 2 * HIDDEN) * tokens + 4 * LAYERS * 1024 * attended
    flops = (1 + 2 + 1) * body + 4 * 2 * VOCABULARY * HIDDEN * scored
    assert float(rows["TFLOP/step"][0]) == pytest.approx(flops / 1e12, abs=0.1, rel=0.005)
    assert float(rows["ms computing"][0]) == pytest.approx(1e3 * flops / 989e12 / 0.4, rel=0.005)
    assert "the first that fits: 1 GPU" in text
    assert "prompts of 512 and completions of 512 tokens, tree layout, 40% of the peak" in text


def test_a_tiny_model_is_in_smaller_units(project, capsys):
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8}
    config = AutoConfig.for_model("llama", hidden_size=64, intermediate_size=172, num_hidden_layers=5, **heads)
    config.vocab_size = 512
    config.save_pretrained("tiny")
    flags = ["--model.policy=tiny", "--data.batch_tokens=200", "--data.max_length=100", "--devices=8"]
    _, rows = printed(capsys, *flags, "--trainer.accumulate_grad_batches=1")
    parameters = 5 * (64 * (4 * 64 + 3 * 172) + 2 * 64) + 2 * 512 * 64 + 64
    assert rows["MB a GPU"] == ["8 DDP", "8 FSDP2"]
    assert rows["policy"][0] == f"{2 * parameters / 1e6:.1f}"
    assert rows["peak, of 80000"]
    assert rows["MB sent/step"][0] == f"{2 * 7 / 8 * 2 * parameters / 1e6:.1f}"
    assert float(rows["GFLOP/step"][0]) > 0
    assert float(rows["ms sending"][0]) == 0.0


def test_adapters_cost_no_reference_and_hardly_any_optimizer(project, capsys):
    text, rows = printed(capsys, "--model.lora.r=8", "--devices=8")
    assert "reference AdapterOff" in text
    assert rows["reference"] == rows["optimizer"] == ["0.0", "0.0"]
    assert rows["GB a GPU"] == ["8 DDP", "8 FSDP2"]


@pytest.mark.parametrize(
    ("flags", "reference", "holds"),
    [
        (["--model.reference=Precomputed"], "Precomputed", False),
        (["--model.objective=SFT"], "NoReference", False),
        (["--model.reference=FrozenCopy", "--model.lora.r=4"], "FrozenCopy", True),
    ],
)
def test_references(project, capsys, flags, reference, holds):
    _, before = printed(capsys, "--devices=1")
    text, rows = printed(capsys, "--devices=1", *flags)
    assert f"reference {reference};" in text
    assert (rows["reference"] == ["0.0"]) != holds
    assert float(rows["TFLOP/step"][0]) < float(before["TFLOP/step"][0])


def test_a_reference_of_its_own_size(project, capsys):
    AutoConfig.from_pretrained("model", num_hidden_layers=2 * LAYERS).save_pretrained("larger")
    flags = ["--devices=1", "--model.reference=FrozenCopy", "--model.lora.r=4"]
    _, copied = printed(capsys, *flags)
    _, larger = printed(capsys, *flags, "--model.reference.init_args.checkpoint=larger")
    assert copied["reference"] == copied["policy"] == larger["policy"]
    layer = HIDDEN * (2 * 1024 + 2 * 512 + 3 * 2816) + 2 * HIDDEN
    assert larger["reference"] == [gigabytes(2 * LAYERS * layer + 2 * VOCABULARY * HIDDEN + HIDDEN)]


@pytest.mark.parametrize(("precision", "times"), [("bf16-true", 3), ("32-true", 1), ("bf16-mixed", 1)])
def test_a_reference_that_is_moved(project, capsys, precision, times):
    """Its averages are kept in float32, beside it where it has less; and mixed precision does not narrow it."""
    run = yaml.safe_load(Path("run.yaml").read_text())
    run["trainer"] |= {"precision": precision, "callbacks": [{"class_path": "EMAReference"}]}
    Path("run.yaml").write_text(yaml.safe_dump(run))
    _, rows = printed(capsys, "--devices=1")
    assert float(rows["reference"][0]) == pytest.approx(times * float(rows["policy"][0]), abs=0.16)


@pytest.mark.parametrize(
    ("flags", "is_narrow"),
    [
        ([], True),
        (["--trainer.precision=16-mixed"], False),
        (["--model.lora.init_lora_weights=pissa"], False),
    ],
)
def test_a_base_in_half_precision(project, capsys, flags, is_narrow):
    config = AutoConfig.from_pretrained("model")
    config.dtype = "bfloat16"
    config.save_pretrained("model")
    _, rows = printed(capsys, "--devices=1", "--trainer.precision=bf16-mixed", "--model.lora.r=4", *flags)
    layers, rest = LAYERS * HIDDEN * (2 * 1024 + 2 * 512 + 3 * 2816), 2 * VOCABULARY * HIDDEN
    assert float(rows["policy"][0]) == pytest.approx(((2 if is_narrow else 4) * layers + 4 * rest) / 1e9, abs=0.06)


def test_an_objective_around_another(project, capsys):
    _, rows = printed(capsys, "--devices=1", "--model.objective=WPO", "--model.objective.init_args.objective=DPO")
    assert rows["reference"] == rows["policy"]


SFT_TWICE = '{"class_path": "Weighted", "init_args": {"objectives": ["SFT", "SFT"], "weights": [1, 1]}}'
WITH_DPO = '{"class_path": "Weighted", "init_args": {"objectives": ["SFT", "DPO"], "weights": [1, 1]}}'


@pytest.mark.parametrize(
    ("objective", "computed"), [("DPO", 2), ("SFT", 1), (SFT_TWICE, 1), (WITH_DPO, 2), ("KTO", 2), ("UnpairedBCO", 1)]
)
def test_tokens_are_those_that_the_objective_compares(project, capsys, objective, computed):
    """As many pairs as have 6144 tokens, of 512 and 512 for each completion that is computed."""
    text, rows = printed(capsys, "--devices=1", f"--model.objective={objective}")
    pairs = 6144 // (512 + computed * 512)
    assert f"assumed: {pairs} pairs a micro-batch" in text
    assert rows["pairs/step"] == [str(2 * pairs)]
    assert f"{computed} computed of a prompt's completions" in text


@pytest.mark.parametrize(("data", "pairs"), [("PreferenceDataModule", "8"), ("dpo_lightning.lab.LabDataModule", "16")])
def test_the_batch_size_of_a_data_module_is_its_own(project, capsys, data, pairs):
    run = yaml.safe_load(Path("run.yaml").read_text())
    run["data"] = {"class_path": data} | ({"init_args": run["data"] | {"batch_tokens": None}} if pairs == "8" else {})
    Path("run.yaml").write_text(yaml.safe_dump(run))
    text, _ = printed(capsys, "--devices=1")
    assert f"assumed: {pairs} pairs a micro-batch" in text


def test_checkpointing_trades_memory_for_time(project, capsys):
    _, before = printed(capsys, "--devices=1")
    _, after = printed(capsys, "--devices=1", "--model.gradient_checkpointing=true")
    assert float(after["activations"][0]) < float(before["activations"][0])
    assert float(after["TFLOP/step"][0]) > float(before["TFLOP/step"][0])


def test_what_does_not_fit_comes_with_advice(project, capsys):
    text, rows = printed(capsys, "--gpu=rtx4090", "--devices=1", "--data.batch_tokens=200000")
    assert rows["fits"] == ["no"]
    assert "none of these fits: set model.gradient_checkpointing, or smaller batches" in text


@pytest.mark.parametrize(
    ("flags", "code", "line"),
    [
        (["--model.policy=./nowhere"], 1, "error: model: no such directory: ./nowhere"),
        (["--model.policy=someone/unknown"], 1, "error: model 'someone/unknown': "),
        (["--model.optimizer=torch.optim.SGD", "--model.optimizer.init_args.lr=-1.0"], 1, "error: plan: torch.optim"),
        (["--utilization=1.5"], 1, "error: plan: --utilization is between 0 and 1"),
        (["--gpu=H1000"], 1, "error: plan: --gpu H1000 is not known; there are "),
        (["--data.batch_token=5"], 2, "error: unknown key `data.batch_token`; did you mean `batch_tokens`?"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(project, capsys, flags, code, line):
    with pytest.raises(SystemExit) as stopped:
        main(["plan", "--config", "run.yaml", *flags])
    said = stopped.value.code
    message = said if isinstance(said, str) else capsys.readouterr().err.strip().splitlines()[-1]
    assert (1 if isinstance(said, str) else said) == code
    assert message.startswith(line)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("path", "arguments", "states"),
    [
        ("torch.optim.AdamW", {"lr": 1e-6}, 2),
        ("torch.optim.RMSprop", {}, 1),
        ("torch.optim.RMSprop", {"momentum": 0.9}, 2),
        ("torch.optim.SGD", {}, 0),
        ("torch.optim.SGD", {"momentum": 0.9}, 1),
    ],
)
def test_what_optimizers_keep(path, arguments, states):
    assert optimizer_states(Namespace(class_path=path, init_args=Namespace(**arguments))) == states


def test_an_unknown_argument_of_an_optimizer():
    with pytest.raises(InputError, match=r"plan: torch.optim.SGD: .*unexpected keyword"):
        optimizer_states(Namespace(class_path="torch.optim.SGD", init_args=Namespace(wrong=1)))


def test_a_tokenizer_of_another_model_is_refused(project):
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"word{number}" for number in range(VOCABULARY)])
    tokenizer.save_pretrained(project / "tokenizer")
    with pytest.raises(
        SystemExit, match=r"^error: data\.tokenizer: 62 tokens have no row in the model, whose embedding"
    ):
        main(["plan", "--config", "run.yaml", "--data.tokenizer=tokenizer"])
    with pytest.raises(SystemExit, match=r"^error: tokenizer 'nowhere/"):
        main(["plan", "--config", "run.yaml", "--data.tokenizer=nowhere/there"])
