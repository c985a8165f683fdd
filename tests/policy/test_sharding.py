"""Two processes that share a model train as one process does: one run of both makes all cases."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from dpo_lightning import PreferenceModule
from dpo_lightning.checkpoints.sharded import consolidated
from dpo_lightning.cli.main import main
from dpo_lightning.errors import InputError
from dpo_lightning.policy.sharding import check_strategy, shard
from tests.helpers.ranks import run_ranks
from tests.helpers.runs import data, saved_model, trainer
from tests.helpers.tiny import tiny_llama, tiny_tokenizer
from tests.two_ranks import CASES, REFUSED, Case, alone_as, fit
from tests.two_ranks import main as fit_all

EXACT = [name for name in CASES if not name.startswith("bf16")]


def _saved(path: Path, kind: str, **settings: Any) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=64, bos_token_id=1, eos_token_id=2, pad_token_id=None, **settings)
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ranks")
    saved_model(path / "model")
    saved_model(path / "tied", tie_word_embeddings=True)
    saved_model(path / "three_heads", num_key_value_heads=1)
    saved_model(path / "deep", num_hidden_layers=8)
    tiny_llama(seed=5).save_pretrained(path / "other")
    config = LoraConfig(r=2, init_lora_weights=False, target_modules="all-linear")
    get_peft_model(AutoModelForCausalLM.from_pretrained(path / "model"), config).save_pretrained(path / "adapter")
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48}
    _saved(path / "qwen3", "qwen3", hidden_size=32, num_hidden_layers=2, initializer_range=0.2, **heads)
    _saved(path / "gpt2", "gpt2", n_embd=32, n_layer=2, n_head=4)
    return path


class Malicious:
    """What a checkpoint may hold that is no data."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


@pytest.fixture(scope="module")
def ranks(models: Path) -> list[dict[str, Any]]:
    """What the two ranks found."""
    malicious = models / "malicious.ckpt"
    malicious.mkdir()
    (malicious / ".metadata").write_bytes(pickle.dumps(Malicious(models / "trace")))
    torch.save({}, malicious / "meta.pt")
    run_ranks(fit_all, models, output=models)
    return [torch.load(models / f"results-{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def alone(models: Path) -> dict[str, Any]:
    """Runs of one process, each made when it is first asked for."""
    made: list[tuple[Case, dict[str, Any]]] = []

    class Runs(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            case = alone_as(CASES[name])
            found = next((run for other, run in made if other == case), None)
            if found is None:
                found = fit(models, case, processes=1)
                made.append((case, found))
            self[name] = found
            return found

    return Runs()


@pytest.mark.parametrize("case", EXACT)
def test_final_weights_and_logs_are_those_of_one_process(case, ranks, alone):
    one, two = alone[case], ranks[0][case]
    assert two["weights"].keys() == one["weights"].keys()
    for name, value in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], value, rtol=0, atol=1e-6)
    steps = len(two["logged"])  # a resumed run logs what is left
    for ours, theirs in zip(one["logged"][-steps:], two["logged"], strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4, abs=2e-5)
    assert two["validated"] == pytest.approx(one["validated"], rel=1e-4, abs=2e-5)
    assert {"train/loss", "train/grad_norm"} <= two["logged"][-1].keys()
    assert "val/loss" in two["validated"]


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed"])
def test_half_precision(precision, ranks, alone):
    one, two = alone[precision], ranks[0][precision]
    kept = torch.bfloat16 if precision == "bf16-true" else torch.float32
    assert {value.dtype for value in two["weights"].values()} == {kept}
    for name, value in one["weights"].items():
        torch.testing.assert_close(two["weights"][name].float(), value.float(), rtol=0.02, atol=0.02)
    assert torch.equal(two["buffers"]["model.rotary_emb.inv_freq"], one["buffers"]["model.rotary_emb.inv_freq"])
    assert two["logged"][-1]["train/loss"] == pytest.approx(one["logged"][-1]["train/loss"], abs=0.02)


def test_training_moves_the_weights_far_more_than_the_tolerance(models, alone):
    before = load_file(models / "model/model.safetensors")
    assert max((alone["full"]["weights"][name] - value).abs().max().item() for name, value in before.items()) > 0.01


def test_clipping_bites(ranks):
    assert ranks[0]["full, clipped"]["logged"][0]["train/grad_norm"] > 0.15
    for kind in ("full, clipped", "full, clipped by value", "tensor parallel, clipped"):
        plain, clipped = (ranks[0][case]["weights"]["lm_head.weight"] for case in (kind.split(",")[0], kind))
        assert (plain - clipped).abs().max() > 1e-4


def test_no_rank_but_0_holds_more_than_its_share_and_one_layer(ranks):
    layers = 8
    assert ranks[0]["largest share"] > 0.9
    assert 0.5 <= ranks[1]["largest share"] < 0.5 + 1 / layers + 0.05


@pytest.mark.parametrize(
    "case", ["full", "full, moving reference", "LoRA, moving reference", "tensor parallel, moving reference"]
)
def test_a_resumed_run_ends_with_the_same_bits(case, ranks):
    whole, resumed = ranks[0][case], ranks[0][f"{case}, resumed"]
    assert all(torch.equal(resumed["weights"][name], value) for name, value in whole["weights"].items())
    assert resumed["logged"] == whole["logged"][2:]


def test_shards_bring_the_moved_reference_elsewhere(models, ranks, tmp_path):
    torch.save(consolidated(models / "moved/step=4.ckpt"), tmp_path / "one.ckpt")
    loaded = PreferenceModule.load_from_checkpoint(tmp_path / "one.ckpt")
    (found,) = trainer().validate(loaded, data(tmp_path), verbose=False)
    assert found == pytest.approx(ranks[0]["full, moving reference"]["validated"], rel=1e-4, abs=2e-5)
    assert abs(found["val/loss"] - ranks[0]["full"]["validated"]["val/loss"]) > 1e-3


@pytest.mark.parametrize("case", ["full", "tensor parallel", "DDP, LoRA"])
def test_samples_are_those_of_one_process(case, models, ranks, alone):
    name = CASES[case]["samples"]
    assert alone[case]["logged"]
    assert (models / f"2/{name}.md").read_text() == (models / f"1/{name}.md").read_text()


def test_exports_are_those_of_one_process(models, ranks, alone):
    assert alone["LoRA, adapter off"]["logged"]
    for file in ("adapter/adapter_model.safetensors", "merged/model.safetensors"):
        one, two = (load_file(models / processes / file) for processes in ("1", "2"))
        assert one.keys() == two.keys()
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=0, atol=1e-6)
    assert (models / "2/merged/tokenizer.json").is_file()
    assert not list(models.glob("2/merged/adapter*"))


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no plan", "transformers has no plan for GPT2LMHeadModel: set it to 1"),
        ("LoRA", "adapters cannot be split"),
        ("heads", "2 does not divide the model's num_key_value_heads, 1: set it to a divisor, or 1"),
        ("step zero", "before step 0 the policy is not its reference"),
        ("code", "has no place in .metadata"),
        ("another base", "compared with another reference than this FrozenCopy"),
        ("another rate", "had optimizer.lr 0.01, and this run asks for 0.5: give the settings of that run, or go on"),
        ("another optimizer", "had optimizer AdamW, and this run asks for SGD"),
        ("another adapter", "the checkpoint's adapter has lora.r 4, and this run asks for 2"),
    ],
)
def test_both_ranks_refuse_alike(case, message, ranks):
    first, second = (rank["refused"][case] for rank in ranks)
    assert message in first
    assert first == second
    assert "\n" not in first
    assert case in REFUSED


def test_another_rate_is_applied_where_that_is_said(ranks):
    resumed = ranks[0]["another rate, resumed"]["weights"]
    assert len(ranks[0]["another rate, resumed"]["logged"]) == 2
    moved = [(resumed[name] - value).abs().max() for name, value in ranks[0]["full"]["weights"].items()]
    assert max(moved) > 0.1


def test_shards_are_exported_onto_their_own_base_alone(models, ranks, tmp_path):
    assert ranks
    (tmp_path / "other.yaml").write_text(f"model:\n  policy: {models / 'other'}\n")
    words = ["export", str(models / "moved adapter/step=4.ckpt"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="was trained on other base weights than this run's policy"):
        main([*words, "--config", str(tmp_path / "other.yaml")])
    assert not (tmp_path / "out").exists()
    main(words)
    assert (tmp_path / "out/adapter_model.safetensors").is_file()


def test_code_of_a_checkpoint_does_not_run(models, ranks):
    assert ranks
    assert not (models / "trace").exists()
    pickle.loads((models / "malicious.ckpt/.metadata").read_bytes())  # it would have
    assert (models / "trace").exists()


@pytest.mark.parametrize("strategy", [FSDPStrategy, DeepSpeedStrategy])
def test_strategies_that_shard_by_themselves_are_refused(strategy):
    with pytest.raises(InputError, match="leave the reference unsharded: use ModelParallelStrategy"):
        check_strategy(strategy.__new__(strategy))


def test_quantized_models_are_refused():
    model = tiny_llama()
    model.is_quantized = True
    with pytest.raises(InputError, match="a quantized model cannot be sharded: use the strategy ddp"):
        shard(model, None, torch.device("cpu"), trained=True)
