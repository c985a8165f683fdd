"""Every recipe trains two optimizer steps on stand-ins, with the source's numbers, and says where each is from."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml

import dpo_lightning
from dpo_lightning import (
    DPO,
    RPO,
    SFT,
    AnyObjective,
    APOZero,
    LengthNormalizedDPO,
    PreferenceDataModule,
    RewardAwareKL,
    SimPO,
    Weighted,
)
from dpo_lightning.cli.main import main
from tests.helpers.recipes import CONFIGS, RECIPES, Watch, local_config
from tests.helpers.runs import saved_model

EOS = 2


class Run(NamedTuple):
    """What a recipe must do: numbers of its source, written by hand.

    Attributes:
        objective: With its settings.
        pairs: Pairs of an optimizer step, on all of its devices together.
        rates: Learning rates of the first two steps of a run of two: half of the peak, and the peak, where a tenth of
            the run is warm-up, which is one step.
        start: Loss of the first micro-batch, where policy and reference are equal; None where it reads likelihoods.
        rank: Rank of the adapters; 0 where all weights are trained.
    """

    objective: AnyObjective
    pairs: int
    rates: tuple[float, float]
    start: float | None = math.log(2)
    rank: int = 0


NORMALIZED = LengthNormalizedDPO(beta=5.0)
EXPECTED = {
    "dpo_paper_hh": Run(DPO(beta=0.1), 64, (5e-7 / 151, 2 * 5e-7 / 151)),
    "full_8b_fsdp2": Run(DPO(beta=0.01), 128, (2.5e-7, 5e-7)),
    "llama3_8b": Run(RPO(beta=0.1, alpha=0.2), 128, (5e-6, 1e-5), None),
    "lora_1b_24gb": Run(DPO(beta=0.01), 64, (5e-6, 1e-5), rank=16),
    "nemotron_rpo_8b": Run(Weighted([RewardAwareKL(beta=0.01, eta=1.0), SFT()], [1.0, 1e-5]), 256, (3e-7, 3e-7), None),
    "olmo2_7b": Run(NORMALIZED, 128, (5e-7, 1e-6)),
    "olmo3_7b_instruct": Run(NORMALIZED, 128, (5e-7, 1e-6)),
    "olmo3_7b_think": Run(NORMALIZED, 128, (4e-8, 8e-8)),
    "qlora_8b_24gb": Run(DPO(beta=0.01), 64, (5e-6, 1e-5), rank=16),
    "simpo_llama3_8b": Run(SimPO(beta=2.5, gamma_beta_ratio=0.55), 128, (5e-7, 1e-6), None),
    "smollm3_3b": Run(APOZero(beta=0.05), 32, (5e-7, 1e-6), 1.0),
    "truthy_phi2": Run(DPO(beta=0.1), 64, (1e-6, 1e-6)),
    "tulu3_8b": Run(NORMALIZED, 128, (2.5e-7, 5e-7)),
    "zephyr_7b": Run(DPO(beta=0.01), 128, (2.5e-7, 5e-7)),
    "zephyr_7b_qlora": Run(DPO(beta=0.01), 16, (2.5e-6, 5e-6), rank=128),
}
# Factors of the learning rate in a run of 20 steps: behind two of warm-up, half-way of the other 18, at the end.
SCHEDULES = {
    "tulu3_8b": (1.0, 0.5, 0.0),
    "zephyr_7b": (1.0, 0.5, 0.0),
    "smollm3_3b": (1.0, 0.55, 0.1),
    "dpo_paper_hh": (3 / 151, 12 / 151, 21 / 151),
    "nemotron_rpo_8b": (1.0, 1.0, 1.0),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny Llama; 64 columns, since 4-bit weights come in blocks of 64."""
    return saved_model(tmp_path_factory.mktemp("model"), hidden_size=64, intermediate_size=64, num_hidden_layers=1)


def test_every_recipe_is_expected():
    assert set(RECIPES) == set(EXPECTED)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", EXPECTED)
def test_two_steps_of_a_recipe(name, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    monkeypatch.setenv("WANDB_MODE", "disabled")
    shipped = CONFIGS / f"recipes/{name}.yaml"
    main(["fit", "--config", str(local_config(shipped, model, tmp_path, steps=2))])
    run, expected = Watch.runs.pop(), EXPECTED[name]
    written = yaml.safe_load(shipped.read_text())
    devices, sources = written["trainer"]["devices"], written["data"].get("sources", [])
    assert run.module.objective == expected.objective
    assert [pairs * devices for pairs in run.pairs] == [expected.pairs, expected.pairs, 0]
    assert run.rates == pytest.approx(expected.rates, rel=1e-9)
    if expected.start is not None:
        assert run.losses[0] == pytest.approx(expected.start, abs=1e-6)
    assert all(map(math.isfinite, run.losses))
    assert run.sources <= {source["name"] for source in sources}
    assert bool(run.sources) == bool(sources)
    trained = {key: weight for key, weight in run.module.policy.named_parameters() if weight.requires_grad}
    # Of q, o, gate, up and down 64 + 64 sides a rank, of k and v 64 + 32.
    adapters = expected.rank * (5 * 128 + 2 * 96)
    whole = sum(weight.numel() for weight in run.module.policy.parameters())
    assert sum(weight.numel() for weight in trained.values()) == (adapters or whole)
    assert all("lora_" in key for key in trained) == bool(expected.rank)
    assert (EOS in run.ends) == (name != "llama3_8b"), "the end of the turn is in the loss, but for Llama 3"
    assert run.module.policy.is_activation_checkpointing


@pytest.mark.filterwarnings("ignore:.*the full learning rate is never reached")
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_schedule_is_that_of_the_source(name):
    written = yaml.safe_load((CONFIGS / f"recipes/{name}.yaml").read_text())["model"]["schedule"]
    schedule = getattr(dpo_lightning, written["class_path"])(**written.get("init_args", {}))
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = schedule(optimizer, total_steps=20)
    factors = [optimizer.param_groups[0]["lr"]]
    for _ in range(20):
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        factors.append(optimizer.param_groups[0]["lr"])
    assert [factors[step] for step in (2, 11, 20)] == pytest.approx(SCHEDULES[name])


@pytest.mark.parametrize("name", RECIPES)
def test_every_value_names_its_source(name):
    lines = (CONFIGS / f"recipes/{name}.yaml").read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    declared = {found[1] for line in header if (found := re.match(r"#   \[(\w+)\] \S", line))}
    assert "ours" in declared
    assert len(declared) > 1
    assert all(len(re.findall(rf"\[{key}[\]:]", "\n".join(lines))) > 1 for key in declared), "a source of nothing"
    for line in lines[len(header) :]:
        key, _, comment = line.partition(" # ")
        if key.rstrip().endswith(":"):  # of a mapping or a list: its lines have the values
            continue
        source = re.search(r"[^ ] \[(\w+)(: [^\]]+)?\]$", comment)
        assert source, f"no source: {line}"
        assert source[1] in declared, f"an unknown source: {line}"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_mix_of_smollm3_is_a_half_and_a_quarter(model, tmp_path):
    written = yaml.safe_load(local_config(CONFIGS / "recipes/smollm3_3b.yaml", model, tmp_path, steps=1).read_text())
    written["data"].pop("val_split")
    data = PreferenceDataModule(tokenizer=model, **written["data"])
    data.setup()
    counted = Counter(name for batch in data.train_dataloader() for name in batch.texts["data_source"])
    assert counted == {"no_think": 64, "think": 32}, "of 128 rows each"


def test_the_mix_of_olmo_3_has_the_rows_of_the_script():
    sources = yaml.safe_load((CONFIGS / "recipes/olmo3_7b_instruct.yaml").read_text())["data"]["sources"]
    assert [source["rows"] for source in sources] == [125000, 125000, *[1250, 938, 312, 2500] * 2]
    assert len({source["dataset"] for source in sources}) == len({source["name"] for source in sources}) == 10


def test_the_header_names_the_file_that_it_is_in():
    for name in RECIPES:
        text = (CONFIGS / f"recipes/{name}.yaml").read_text()
        commands = re.findall(r"configs/[\w/]+\.yaml", text)
        assert commands[0] == f"configs/recipes/{name}.yaml"
        assert all((CONFIGS.parent / command).is_file() for command in commands if "/" in command.split("configs/")[1])
        assert f"runs/{name}" in text
        assert len({Path(place).parts[1] for place in re.findall(r"runs/[\w/]+", text)}) == 1
