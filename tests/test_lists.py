"""Lists of completions through whole runs: the loss of the papers, the same in every layout, cached, and in ranks."""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from torch import Tensor
from torch.optim import SGD

from dpo_lightning import (
    DPO,
    QRPO,
    TPO,
    AllPairs,
    FrozenCopy,
    PlackettLuceDPO,
    Precomputed,
    PreferenceDataModule,
    PreferenceModule,
    RowFormat,
    SimPO,
    TokenizedExample,
    WriteRewards,
)
from dpo_lightning.batch import sequence_order
from dpo_lightning.cli.main import main
from dpo_lightning.errors import InputError, RunError
from tests.helpers.alike import assert_same, assert_two_processes_are_one
from tests.helpers.brute import brute_token_logps
from tests.helpers.ranked import RankedRows
from tests.helpers.runs import Seen, saved_model, trainer, write_rows
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

COUNT = 24
OBJECTIVES = [PlackettLuceDPO(beta=0.5), AllPairs(DPO(beta=0.5), weighted=True), QRPO(beta=0.5)]
every_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda each: type(each).__name__)


def module(policy: Any = None, **settings: Any) -> PreferenceModule:
    # A squared loss is steep: with the others' rate rounding errors would grow from step to step.
    lr = 0.001 if isinstance(settings.get("objective"), QRPO) else 0.02
    settings = {"optimizer": functools.partial(SGD, lr=lr), **settings}
    return PreferenceModule(tiny_llama() if policy is None else policy, **settings)


def data(path: Path, **settings: Any) -> PreferenceDataModule:
    source = path / "rows.jsonl"
    if not source.exists():
        write_rows(source, COUNT)
    settings = {"format": RankedRows(), "batch_pairs": 4, **settings}
    return PreferenceDataModule(str(source), tiny_tokenizer(), **settings)


def expected_loss(objective: Any, policy: Any, reference: Any, examples: Sequence[TokenizedExample]) -> float:
    """The papers' equations, in the plainest words, from a plain forward of each completion."""
    ours, theirs = ([math.fsum(row) for row in brute_token_logps(model, examples)] for model in (policy, reference))
    rewards: dict[int, list[tuple[float, float]]] = {}
    for (n, k), one, other in zip(sequence_order(examples), ours, theirs, strict=True):
        score = examples[n].columns["score"][k]  # type: ignore[index]
        rewards.setdefault(n, []).append((score, objective_beta(objective) * (one - other)))
    return math.fsum(of_list(objective, each) for each in rewards.values()) / len(rewards)


def objective_beta(objective: Any) -> float:
    return objective.objective.beta if isinstance(objective, AllPairs) else objective.beta


def of_list(objective: Any, ranked: list[tuple[float, float]]) -> float:
    pairs = [(s, r, t, q) for s, r in ranked for t, q in ranked if s > t]
    if isinstance(objective, AllPairs):
        return math.fsum((s - t) * math.log1p(math.exp(q - r)) for s, r, t, q in pairs) / len(pairs)
    if isinstance(objective, QRPO):
        log_z = math.log(objective.beta * (math.exp(1 / objective.beta) - 1))
        quantile = [sum(t <= s for t, _ in ranked) / len(ranked) for s, _ in ranked]
        terms = [(q - objective.beta * log_z - r) ** 2 for q, (_, r) in zip(quantile, ranked, strict=True)]
        return math.fsum(terms) / len(terms)
    return math.fsum(math.log(math.exp(r) + math.fsum(math.exp(q) for t, q in ranked if t < s)) - r for s, r in ranked)


@every_objective
@pytest.mark.parametrize("layout", ["tree", "padded"])
def test_the_first_loss_is_the_papers(tmp_path: Path, objective: Any, layout: Any) -> None:
    reference = tiny_llama(seed=1)
    reference.save_pretrained(tmp_path / "reference")
    seen, found = Seen(), data(tmp_path, batch_pairs=COUNT, layout=layout)
    frozen = FrozenCopy(str(tmp_path / "reference"))

    fitted = module(tiny_llama(seed=0), objective=objective, reference=frozen, step_zero_check=False)
    trainer(max_steps=1, callbacks=[seen]).fit(fitted, found)

    rows = found.examples_used("fit")[0]
    examples = [rows[number] for number in range(COUNT)]
    assert {len(each.completion_ids) for each in examples} == {2, 3, 4}
    assert seen.losses == [pytest.approx(expected_loss(objective, tiny_llama(seed=0), reference, examples), rel=1e-5)]
    if layout == "tree":  # every prompt once, however many completions it has
        tokens = sum(len(each.prompt_ids) + sum(map(len, each.completion_ids)) for each in examples)
        assert seen.batches[0].input_ids.shape == (1, tokens)


def trained(tmp_path: Path, objective: Any, steps: int = 5, **changes: Any) -> dict[str, Tensor]:
    """Weights after a few steps."""
    settings = {name: changes.pop(name) for name in ("reference", "lora") if name in changes}
    windows = changes.pop("windows", 1)
    fitted = module(objective=objective, **settings)
    found = data(tmp_path, length_grouped=False, **changes)
    trainer(max_steps=steps, accumulate_grad_batches=windows).fit(fitted, found)
    return {name: value.detach().clone() for name, value in fitted.state_dict().items()}


@every_objective
def test_every_way_trains_the_same_policy(tmp_path: Path, objective: Any) -> None:
    expected = trained(tmp_path, objective, layout="tree")
    start_weights = {f"policy.{name}": value for name, value in tiny_llama().state_dict().items()}
    assert max((value - start_weights[name]).abs().max() for name, value in expected.items()) > 1e-3

    assert_same(trained(tmp_path, objective, layout="padded"), expected)
    for layout in ("tree", "padded"):
        cached = Precomputed(str(tmp_path / "cache"))
        assert_same(trained(tmp_path, objective, layout=layout, reference=cached), expected)


def test_micro_batches_share_the_step_over_lists(tmp_path: Path) -> None:
    """Of lists of two to four completions: each list counts alike, whatever micro-batch it is in."""
    objective = PlackettLuceDPO(beta=0.5)
    whole = trained(tmp_path, objective, steps=1, batch_pairs=COUNT)
    assert_same(trained(tmp_path, objective, steps=1, batch_pairs=5, windows=5), whole, bound=1e-6)


def test_two_completions_train_as_pairs_do(tmp_path: Path) -> None:
    as_pairs = trained(tmp_path, DPO(beta=0.5), format=RowFormat())
    for objective in (PlackettLuceDPO(beta=0.5), AllPairs(DPO(beta=0.5))):
        assert_same(trained(tmp_path, objective, format=RankedRows(most=2)), as_pairs, bound=1e-6)


def test_two_processes_are_one(tmp_path: Path) -> None:
    assert_two_processes_are_one(tmp_path, PlackettLuceDPO(), RankedRows())


@every_objective
def test_a_policy_that_is_not_its_reference_is_noticed(tmp_path: Path, objective: Any) -> None:
    tiny_llama(seed=1).save_pretrained(tmp_path / "other")
    fitted = module(saved_model(tmp_path / "model"), objective=objective, reference=FrozenCopy(str(tmp_path / "other")))
    with pytest.raises(RunError, match="before step 0 the policy is not its reference: loss"):
        trainer().fit(fitted, data(tmp_path))


@pytest.mark.parametrize("objective", [AllPairs(SimPO()), TPO()], ids=lambda each: type(each).__name__)
def test_without_a_reference(tmp_path: Path, objective: Any) -> None:
    run = trainer(max_steps=2)
    examples = data(tmp_path, format=RankedRows(most=5), val_split=0.25)
    run.fit(module(objective=objective), examples)
    (values,) = run.validate(run.lightning_module, examples, verbose=False)
    assert 0 <= values["val/rewards/accuracies"] <= 1
    assert "val/logratios/chosen" not in values


def test_a_list_of_two_is_none_for_tpo(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row \d+ \(from 0\): 2 completions, and objective TPO compares 3"):
        trainer(max_steps=3).fit(module(objective=TPO()), data(tmp_path))


def test_predictions_are_of_completions(tmp_path: Path) -> None:
    found = data(tmp_path, val_split=0.5)
    writer = WriteRewards(str(tmp_path / "rewards.jsonl"))
    fitted = module(objective=PlackettLuceDPO())
    trainer(callbacks=[writer]).predict(fitted, found)

    rows = [json.loads(line) for line in (tmp_path / "rewards.jsonl").read_text().splitlines()]
    examples = found.examples_used("validate")[0]
    asked = {each.row: each for each in (examples[number] for number in range(len(examples)))}
    assert sorted((row["pair_id"], row["completion"]) for row in rows) == sorted(
        (each.row, k) for each in asked.values() for k in range(len(each.completion_ids))
    )
    for row in rows:
        example = asked[row["pair_id"]]
        assert row["score"] == example.columns["score"][row["completion"]]  # type: ignore[index]
        assert row["texts"] == {"asked": example.columns["asked"]}


@pytest.mark.parametrize(
    ("objective", "row_format", "said"),
    [
        (DPO(), RankedRows(), r"objective DPO reads pairs, and .* gives lists .*: write AllPairs\(DPO\(\.\.\.\)\)"),
        (PlackettLuceDPO(), RowFormat(), "objective PlackettLuceDPO reads lists of completions with scores, and data"),
    ],
)
def test_the_other_kind_of_data_is_refused(tmp_path: Path, objective: Any, row_format: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        trainer().fit(module(objective=objective), data(tmp_path, format=row_format))


def test_the_command_takes_a_composition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path / "rows.jsonl", 8)
    pairs = {"class_path": "DPO", "init_args": {"beta": 0.3}}
    config = {
        "model": {
            "policy": saved_model(tmp_path / "model"),
            "objective": {"class_path": "AllPairs", "init_args": {"objective": pairs, "weighted": True}},
        },
        "data": {"dataset": str(tmp_path / "rows.jsonl"), "format": {"class_path": "tests.helpers.ranked.RankedRows"}},
        "trainer": {"max_steps": 1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False},
    }
    (tmp_path / "run.yaml").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    fits: list[Any] = []
    monkeypatch.setattr(pl.Trainer, "fit", functools.wraps(pl.Trainer.fit)(lambda _, model, **__: fits.append(model)))
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])

    main(["fit", "--config", "run.yaml"])

    assert [fitted.objective for fitted in fits] == [AllPairs(DPO(beta=0.3), weighted=True)]
