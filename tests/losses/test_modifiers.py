"""Objectives around objectives: against brute force, what they refuse, and in configs and checkpoints."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
import yaml
from torch import Tensor

from dpo_lightning import PreferenceModule
from dpo_lightning.cli.main import main
from dpo_lightning.errors import InputError
from dpo_lightning.losses import (
    CPO,
    DPO,
    IPO,
    KTO,
    LDDPO,
    RPO,
    SFT,
    WPO,
    AOTPaired,
    BetaDPO,
    Compares,
    DistilledDPO,
    FDivergence,
    ForwardKL,
    Hinge,
    Objective,
    PairedBCO,
    Reads,
    RowWeighted,
    SimPO,
    Weighted,
)
from dpo_lightning.losses.modifiers import _listed, typicality
from dpo_lightning.losses.scores import ChosenScores, PairScores
from tests.losses.battery import some_scores, with_policy


def uneven_scores() -> PairScores:
    """Completions of (4, 3), (2, 8) and (5, 5) tokens, each with a log-prob of its own."""
    scores = some_scores()
    assert scores.tokens is not None
    count = len(scores.tokens.sequence_id)
    tokens = scores.tokens._replace(
        policy_logps=-torch.rand(count, dtype=torch.float64),
        reference_logps=-torch.rand(count, dtype=torch.float64),
        log_collisions=-torch.rand(count, dtype=torch.float64),
    )
    return PairScores.from_tokens(tokens, scores.columns)


def completions(values: Tensor, scores: PairScores) -> list[list[float]]:
    assert scores.tokens is not None
    return [part.tolist() for part in values.split(scores.tokens.lengths.tolist())]


@pytest.mark.parametrize(
    ("objective", "compares"),
    [
        (Weighted([SFT()], [1.0]), Compares.CHOSEN),
        (Weighted([SFT(), RowWeighted(SFT())], [1.0, 2.0]), Compares.CHOSEN),
        (RowWeighted(Weighted([SFT()], [1.0])), Compares.CHOSEN),
        (Weighted([SFT(), DPO()], [1.0, 1.0]), Compares.PAIRS),
        (RowWeighted(DPO()), Compares.PAIRS),
        (WPO(SFT()), Compares.PAIRS),
        (LDDPO(DPO()), Compares.PAIRS),
        (FDivergence(DPO(), ForwardKL()), Compares.PAIRS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_compared_is_what_the_parts_and_the_modifier_itself_compare(
    objective: Objective, compares: Compares
) -> None:
    assert objective.compares is compares
    if compares is Compares.PAIRS:
        with pytest.raises(NotImplementedError, match=r" compares pairs$"):
            objective.chosen_rewards(ChosenScores(*torch.zeros(2, 1), torch.ones(1, dtype=torch.int64)))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_ld_dpo_by_loops(alpha: float) -> None:
    scores = uneven_scores()
    assert scores.tokens is not None
    policy, reference = (completions(v, scores) for v in (scores.tokens.policy_logps, scores.tokens.reference_logps))

    def logratio(sequence: int, pair: int) -> float:
        shared = min(len(policy[pair]), len(policy[pair + 3]))
        both = zip(policy[sequence], reference[sequence], strict=True)
        return sum((1 if place < shared else alpha) * (p - r) for place, (p, r) in enumerate(both))

    margins = [0.5 * (logratio(pair, pair) - logratio(pair + 3, pair)) for pair in range(3)]
    objective = LDDPO(DPO(beta=0.5), alpha=alpha)

    assert objective(scores).tolist() == pytest.approx([math.log1p(math.exp(-margin)) for margin in margins])
    assert objective.rewards(scores)[1].tolist() == pytest.approx([0.5 * logratio(pair + 3, pair) for pair in range(3)])


def test_ld_of_a_loss_that_divides_by_lengths_divides_by_the_whole_ones() -> None:
    scores = uneven_scores()
    rewards = LDDPO(DPO(beta=1.0), alpha=0.3).rewards(scores)  # the desensitized log-ratios
    means = [(ratio / length).tolist() for ratio, length in zip(rewards, scores[4:6], strict=True)]

    losses = LDDPO(IPO(tau=0.25, per_token=True), alpha=0.3)(scores)

    assert losses.tolist() == pytest.approx([(c - r - 2) ** 2 for c, r in zip(*means, strict=True)])


def test_ld_dpo_with_alpha_one_is_dpo() -> None:
    scores = uneven_scores()

    assert torch.equal(LDDPO(DPO(), alpha=1.0)(scores), DPO()(scores))


def test_ld_dpo_observes_its_own_likelihoods() -> None:
    scores = uneven_scores()
    seen = LDDPO(PairedBCO(beta=0.5), alpha=0.2).observe(scores)

    assert seen is not None
    rewards = torch.cat(LDDPO(DPO(beta=0.5), alpha=0.2).rewards(scores))
    assert seen.values.mean().item() == pytest.approx(rewards.mean().item())


def test_wpo_by_loops() -> None:
    scores = uneven_scores()
    assert scores.tokens is not None
    assert scores.tokens.log_collisions is not None
    logps, collisions = (completions(v, scores) for v in (scores.tokens.policy_logps, scores.tokens.log_collisions))
    means = [
        sum(p - c for p, c in zip(*parts, strict=True)) / len(parts[0]) for parts in zip(logps, collisions, strict=True)
    ]
    expected = [math.exp(means[pair]) * math.exp(means[pair + 3]) for pair in range(3)]

    assert typicality(scores.tokens).tolist() == pytest.approx(expected)
    for inner in (DPO(), SimPO(), SFT()):
        torch.testing.assert_close(WPO(inner)(scores), inner(scores) * torch.tensor(expected, dtype=torch.float64))


def test_a_weight_of_wpo_has_no_gradient() -> None:
    scores = uneven_scores()
    assert scores.tokens is not None
    weights = typicality(scores.tokens)
    tokens = scores.tokens.policy_logps.clone().requires_grad_()

    (found,) = torch.autograd.grad(WPO(DPO())(with_policy(scores, tokens)).sum(), tokens)
    (expected,) = torch.autograd.grad((weights * DPO()(with_policy(scores, tokens))).sum(), tokens)

    torch.testing.assert_close(found, expected)


def test_a_completion_that_is_sampled_has_the_weight_one_on_average() -> None:
    """The alignment's meaning: with ``p`` the chance of a token, the mean of ``p / sum p^2`` over draws is 1."""
    probabilities = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    collision = probabilities.square().sum().log()

    assert (probabilities * (probabilities.log() - collision).exp()).sum().item() == pytest.approx(1.0)


def test_a_mixture_reads_what_its_parts_read() -> None:
    mixture = Weighted([WPO(DPO()), RowWeighted(SFT()), DistilledDPO()], [1.0, 2.0, 3.0])

    of_parts = Reads.REFERENCE | Reads.LIKELIHOOD | Reads.LENGTHS | Reads.MARGIN
    assert mixture.reads == of_parts | Reads.COLLISIONS | Reads.WEIGHT
    assert mixture.reads.columns == {"weight", "margin"}


def test_mixed_preference_optimization() -> None:
    """DPO, BCO and SFT: one of them reads a running mean, and the mixture hands it on."""
    parts = [DPO(), PairedBCO(), SFT()]
    mixture, scores = Weighted(parts, [0.8, 0.2, 1.0]), uneven_scores()
    seen = mixture.observe(scores)
    own = PairedBCO().observe(scores)
    assert seen is not None
    assert own is not None
    assert seen.values.tolist() == own.values.tolist()
    scores = scores._replace(baseline=some_scores().baseline)

    expected = sum(weight * part(scores) for part, weight in zip(parts, (0.8, 0.2, 1.0), strict=True))
    torch.testing.assert_close(mixture(scores), expected)
    assert torch.equal(mixture.rewards(scores)[0], DPO().rewards(scores)[0])


def test_modifiers_nest() -> None:
    scores = uneven_scores()
    nested = RowWeighted(WPO(LDDPO(FDivergence(DPO(beta=0.5), ForwardKL()), alpha=0.5)))
    inner = LDDPO(FDivergence(DPO(beta=0.5), ForwardKL()), alpha=0.5)
    assert scores.tokens is not None

    expected = inner(scores) * typicality(scores.tokens) * scores.columns["weight"]
    torch.testing.assert_close(nested(scores), expected)
    assert torch.equal(nested.rewards(scores)[0], inner.rewards(scores)[0])


REFUSED: dict[str, tuple[Any, str]] = {
    "LD without a reference": (lambda: LDDPO(CPO()), "must be a loss of log-ratios alone, such as DPO: CPO also reads"),
    "LD of a likelihood": (lambda: LDDPO(RPO()), "RPO also reads the likelihood itself; for a sum of both, take"),
    "LD of a mixture": (lambda: LDDPO(Weighted([DPO(), SFT()], [1.0, 1.0])), "Weighted also reads the likelihood"),
    "LD twice": (lambda: LDDPO(LDDPO(DPO())), "of an LDDPO inside another, multiply the alphas"),
    "LD twice inside": (lambda: LDDPO(WPO(LDDPO(DPO()))), "LDDPO.objective must read no single tokens, .*: WPO does"),
    "LD twice in a mixture": (lambda: LDDPO(Weighted([LDDPO(DPO())], [1.0])), "multiply the alphas"),
    "a divergence of LD": (lambda: FDivergence(LDDPO(DPO()), ForwardKL()), "got LDDPO: put that around"),
    "weights of no pairs": (lambda: RowWeighted(KTO()), "must be an objective of pairs, such as DPO, got KTO"),
    "LD of no pairs": (lambda: LDDPO(KTO()), "must be an objective of pairs, such as DPO, got KTO"),
    "alpha": (lambda: LDDPO(DPO(), alpha=1.1), r"LDDPO.alpha must be in \[0, 1\], got 1.1"),
    "alpha nan": (lambda: LDDPO(DPO(), alpha=math.nan), r"LDDPO.alpha must be in \[0, 1\], got nan"),
    "WPO of a batch": (lambda: WPO(AOTPaired()), "WPO.objective must have a loss for each pair: that of AOTPaired"),
    "WPO of a batch inside": (lambda: WPO(LDDPO(AOTPaired())), "must have a loss for each pair: that of LDDPO"),
    "WPO of a mixture of WPO": (
        lambda: WPO(Weighted([WPO(DPO())], [1.0])),
        r"weighted by WPO already: once is enough; write Weighted\(...\) without another WPO around it",
    ),
    "weights of a batch": (lambda: RowWeighted(AOTPaired()), "RowWeighted.objective must have a loss for each pair"),
    "weights twice": (
        lambda: RowWeighted(WPO(RowWeighted(DPO()))),
        r"weighted by its rows already: once is enough; write WPO\(...\) without another RowWeighted around it",
    ),
    "nothing": (lambda: Weighted([], []), "give one objective or more, and as many weights, got 0 and 0"),
    "one weight": (lambda: Weighted([DPO(), SFT()], [1.0]), "give one objective or more, .* got 2 and 1"),
    "no weight": (lambda: Weighted([DPO(), SFT()], [1.0, 0.0]), "Weighted.weights must be a finite number greater"),
    "two means": (
        lambda: Weighted([PairedBCO(), BetaDPO()], [1.0, 1.0]),
        "PairedBCO and BetaDPO each read a mean over batches of their own, and there is one: leave one out",
    ),
    "a mixture of no pairs": (
        lambda: Weighted([DPO(), KTO()], [1.0, 1.0]),
        "Weighted.objectives must be an objective of pai",
    ),
}


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses_with_the_reason(build: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users have no checked annotations
    with pytest.raises(InputError, match=message):
        build()


@pytest.mark.parametrize("objective", [LDDPO(DPO()), WPO(DPO()), RowWeighted(DPO()), DistilledDPO()], ids=str)
def test_says_what_is_missing(objective: Objective) -> None:
    bare = some_scores()._replace(tokens=None, columns={})

    with pytest.raises(ValueError, match=r"the loss reads the .*: give scores\."):
        objective(bare)


def test_wpo_says_that_the_collisions_are_missing() -> None:
    scores = some_scores()
    assert scores.tokens is not None

    with pytest.raises(ValueError, match=r"give scores\.tokens\.log_collisions"):
        WPO(DPO())(scores._replace(tokens=scores.tokens._replace(log_collisions=None)))


NESTED = Weighted([LDDPO(WPO(DPO(beta=0.3)), alpha=0.25), RowWeighted(Hinge()), SFT()], [0.8, 0.2, 1.0])


def test_come_back_from_a_checkpoint(tmp_path: Path) -> None:
    from lightning.pytorch.cli import instantiate_module

    torch.save(dict(PreferenceModule("some/model", NESTED).hparams), tmp_path / "hparams.pt")
    saved = torch.load(tmp_path / "hparams.pt", weights_only=True)
    saved.pop("_instantiator")

    assert instantiate_module(PreferenceModule, saved).objective == NESTED


@pytest.fixture
def no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on the command line but what is given to `main`."""
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])


def config(tmp_path: Path, objective: dict[str, Any]) -> str:
    path = tmp_path / "run.yaml"
    content = {
        "model": {"policy": "none", "objective": objective},
        "data": {"dataset": "none.jsonl", "format": {"margin": ["a", "b"], "weight": "c"}},
        "trainer": {"logger": False},
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


def short(objective: Any) -> Any:
    """The config of an objective with short names."""
    if isinstance(objective, Objective):
        fields = {name: short(value) for name, value in vars(objective).items()}
        return {"class_path": type(objective).__name__, "init_args": fields}
    return [short(each) for each in objective] if isinstance(objective, tuple) else objective


def test_nest_in_a_config_by_short_names(tmp_path: Path, no_words: None) -> None:
    from dpo_lightning.cli.trainer import PreferenceCLI, run_trainer

    class Built(PreferenceCLI):
        """Builds everything and runs nothing."""

        def _run_subcommand(self, subcommand: str) -> None:
            pass

    cli = run_trainer(["fit", "--config", config(tmp_path, short(NESTED))], Built)

    assert cli.model.objective == NESTED
    assert cli.datamodule.format.margin == ["a", "b"]
    assert cli.datamodule.format.weight == "c"


@pytest.mark.parametrize(
    ("objective", "key"),
    [
        ({"class_path": "SimPO", "init_args": {"label_smoothing": 0.1}}, "model.objective.label_smoothing"),
        ({"class_path": "ORPO", "init_args": {"beta": 0.1}}, "beta"),
        ({"class_path": "SoftLabelDPO", "init_args": {"eta": 1.0}}, "eta"),
        ({"class_path": "WPO", "init_args": {"objective": short(DPO()), "alpha": 1}}, "alpha"),
        (
            {
                "class_path": "Weighted",
                "init_args": {
                    "objectives": [short(DPO()), {"class_path": "SFT", "init_args": {"beta": 1}}],
                    "weights": [1, 1],
                },
            },
            "beta",
        ),
    ],
    ids=["SimPO", "ORPO", "SoftLabelDPO", "WPO", "inside a mixture"],
)
def test_an_option_that_nothing_reads_is_an_unknown_key(
    objective: dict[str, Any], key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], no_words: None
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", config(tmp_path, objective)])

    lines = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 2
    assert len(lines) == 1
    assert lines[0].startswith("error: unknown key `")
    assert key in lines[0]


@pytest.mark.parametrize("weights", [b"\x01", bytearray(b"\x01"), {1.0}, {1.0: 2.0}, "1"])
def test_weights_that_are_no_list_are_refused(weights: Any) -> None:
    with pytest.raises(InputError, match=r"^Weighted\.weights: .* is no list: write"):
        _listed("weights", weights)
