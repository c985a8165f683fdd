"""What `tools.docs.deviations` lists: TRL's value, ours, and that their difference is the one named."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor

from dpo_lightning import PairScores, PreferenceDataModule
from dpo_lightning.data import UnpairedFormat
from dpo_lightning.errors import InputError
from dpo_lightning.losses import (
    CPO,
    DPO,
    IPO,
    KTO,
    LDDPO,
    ORPO,
    SFT,
    TPO,
    WPO,
    AlphaDivergence,
    AlphaPO,
    CPOSimPO,
    FDivergence,
    ForwardKL,
    Hinge,
    Objective,
    PairedBCO,
    RobustDPO,
    SimPO,
    length_normalized_dpo,
)
from tests.parity.grid import BETA, FLIPPED
from tests.parity.steps import BATCH, Scene, first_scores, fit, fit_module, make_module, sgd
from tests.parity.trl_side import (
    TRLScores,
    make_cpo_trainer,
    make_kto_trainer,
    make_orpo_trainer,
    make_tpo_trainer,
    make_trainer,
    score,
    triples,
    triples_as_lists,
)
from tools.docs.deviations import DEVIATIONS

APART = 1e-4
LD_ALPHA = 0.4
NLL_WEIGHT = 0.7
FIRST = range(BATCH)


def test_the_list_names_these_tests() -> None:
    here = {name for name in globals() if name.startswith("test_")} - {"test_the_list_names_these_tests"}
    assert {deviation.test for deviation in DEVIATIONS} == here


def test_dpo_is_smoothed(scene: Scene, tmp_path: Path) -> None:
    scores = first_scores(scene, DPO())
    margin = BETA * (scores.chosen_logratio - scores.rejected_logratio)
    plain, swapped = -F.logsigmoid(margin), -F.logsigmoid(-margin)
    theirs = _trl(scene, tmp_path, loss_type="sigmoid", label_smoothing=FLIPPED)
    _is_close(theirs, plain)
    _is_close(_ours(scene, DPO(BETA, FLIPPED)), (1 - FLIPPED) * plain + FLIPPED * swapped)
    assert abs(_ours(scene, DPO(BETA, FLIPPED)) - theirs) > APART


def test_ipo_has_sums(scene: Scene, tmp_path: Path) -> None:
    scores = first_scores(scene, IPO())
    chosen, rejected = scores.chosen_logratio, scores.rejected_logratio
    theirs = _trl(scene, tmp_path, loss_type="ipo")
    _is_close(theirs, (chosen / scores.chosen_lengths - rejected / scores.rejected_lengths - 0.5 / BETA) ** 2)
    _is_close(_ours(scene, IPO(BETA)), (chosen - rejected - 0.5 / BETA) ** 2)
    assert abs(_ours(scene, IPO(BETA)) - theirs) > APART


def test_lengths_of_rows_without_a_prompt(scene: Scene, tmp_path: Path) -> None:
    """The same three and two scored tokens, with what stands before them as the prompt, and as their first token."""
    rows = [{"prompt": "c", "chosen": "ab", "rejected": "n"}, {"prompt": "", "chosen": "cab", "rejected": "cn"}]
    trainer = make_trainer(scene.world, tmp_path, rows=rows, loss_type="sigmoid_norm", beta=BETA, **sgd(scene))
    assert trainer.train_dataset[1]["prompt_ids"] == []
    with_prompt, without = (score(trainer, [row]) for row in range(2))
    torch.testing.assert_close(with_prompt.chosen_rewards, without.chosen_rewards)
    ratios = with_prompt.chosen_rewards / BETA, with_prompt.rejected_rewards / BETA
    ours = [
        length_normalized_dpo(*ratios, torch.tensor([3 + extra]), torch.tensor([2 + extra]), beta=BETA)
        for extra in (0, 1)
    ]
    _is_close(with_prompt.loss.item(), ours[0])
    _is_close(without.loss.item(), ours[1])
    assert (ours[0] - ours[1]).abs() > APART


def test_bco_has_a_reward_shift(scene: Scene, tmp_path: Path) -> None:
    scores = first_scores(scene, PairedBCO())
    chosen, rejected = BETA * scores.chosen_logratio, BETA * scores.rejected_logratio
    delta = torch.cat([chosen, rejected]).mean()
    theirs, ours = _trl(scene, tmp_path, loss_type="bco_pair"), fit(scene, PairedBCO(BETA)).losses[0]
    _is_close(theirs, -F.logsigmoid(chosen) - F.logsigmoid(-rejected))
    _is_close(ours, -F.logsigmoid(chosen - delta) - F.logsigmoid(delta - rejected))
    assert abs(ours - theirs) > APART


def test_alpha_is_the_papers(scene: Scene, tmp_path: Path) -> None:
    settings = {"loss_type": "sigmoid", "f_divergence_type": "alpha_divergence"}
    theirs = _trl(scene, tmp_path, f_alpha_divergence_coef=0.3, **settings)
    of_alpha = {alpha: _ours(scene, FDivergence(DPO(BETA), AlphaDivergence(alpha))) for alpha in (0.3, 0.7)}
    assert of_alpha[0.7] == pytest.approx(theirs, abs=1e-6)
    assert abs(of_alpha[0.3] - theirs) > APART
    _trl(scene, tmp_path, f_alpha_divergence_coef=1.5, **settings)
    with pytest.raises(InputError, match=r"AlphaDivergence.alpha must be in \(0, 1\)"):
        AlphaDivergence(1.5)


def test_the_reward_is_the_divergences(scene: Scene, tmp_path: Path) -> None:
    objective = FDivergence(DPO(BETA), ForwardKL())
    scores = first_scores(scene, objective)
    theirs = _trl_scores(scene, tmp_path, loss_type="sigmoid", f_divergence_type="forward_kl").chosen_rewards
    torch.testing.assert_close(theirs.double(), BETA * scores.chosen_logratio, rtol=0, atol=2e-6)
    ours, _ = objective.rewards(scores)
    torch.testing.assert_close(ours, BETA * (1 - (-scores.chosen_logratio).exp()))
    assert (ours - theirs).abs().min() > APART


def test_half_of_the_labels_cannot_be_flipped(scene: Scene, tmp_path: Path) -> None:
    assert not isfinite(_trl(scene, tmp_path, loss_type="robust", label_smoothing=0.5))
    with pytest.raises(InputError, match=r"RobustDPO.label_smoothing must be in \[0, 0.5\)"):
        RobustDPO(label_smoothing=0.5)


def test_sft_is_a_mean_over_pairs(scene: Scene, tmp_path: Path) -> None:
    scores = first_scores(scene, SFT())
    theirs, ours = _trl(scene, tmp_path, loss_type="sft"), fit(scene, SFT()).losses[0]
    _is_close(theirs, _over_tokens(scores))
    _is_close(ours, -scores.policy_chosen_logps / scores.chosen_lengths)
    assert abs(ours - theirs) > APART


def test_sft_has_no_divergence_and_no_alpha(scene: Scene, tmp_path: Path) -> None:
    plain = _trl(scene, tmp_path, loss_type="sft")
    assert plain == _trl(scene, tmp_path, loss_type="sft", ld_alpha=LD_ALPHA, f_divergence_type="forward_kl")
    with pytest.raises(InputError, match=r"LDDPO.objective must be"):
        LDDPO(SFT(), LD_ALPHA)


@pytest.mark.parametrize(
    ("loss_type", "objective", "message", "recorded"),
    [("hinge", Hinge(BETA), "inplace operation", 1), ("sft", SFT(), "refers to a single memory location", 0)],
    ids=["hinge", "sft"],
)
def test_hinge_and_sft_can_be_weighted(
    scene: Scene, loss_type: str, objective: Objective, message: str, recorded: int, tmp_path: Path
) -> None:
    settings = {"loss_type": loss_type, "use_weighting": True, "beta": BETA}
    trainer = make_trainer(scene.world, tmp_path, **settings, **sgd(scene))
    with pytest.raises(RuntimeError, match=message):
        trainer.train()
    assert len(trainer.losses) == recorded
    ours = fit(scene, WPO(objective)).losses
    assert ours[:recorded] == pytest.approx(trainer.losses, abs=1e-6), "the loss is right where there is one"
    assert ours[1] != ours[0]


def test_cpo_has_the_summed_likelihood(scene: Scene, tmp_path: Path) -> None:
    scores = first_scores(scene, CPO())
    preference = -F.logsigmoid(BETA * (scores.policy_chosen_logps - scores.policy_rejected_logps))
    trainer = make_cpo_trainer(scene.world, tmp_path, beta=BETA, cpo_alpha=NLL_WEIGHT, **sgd(scene))
    theirs, ours = _first_loss(trainer), fit(scene, CPO(BETA, NLL_WEIGHT)).losses[0]
    _is_close(theirs, preference + NLL_WEIGHT * _over_tokens(scores))
    _is_close(ours, preference - NLL_WEIGHT * scores.policy_chosen_logps)
    assert abs(ours - theirs) > APART


def test_simpo_has_no_likelihood(scene: Scene, tmp_path: Path) -> None:
    objective = SimPO(beta=2.0, gamma_beta_ratio=0.25)
    scores = first_scores(scene, objective)
    settings = {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 0.5}
    theirs = _first_loss(make_cpo_trainer(scene.world, tmp_path, **settings, **sgd(scene)))
    _is_close(theirs, objective(scores) + _over_tokens(scores))
    margin = 2 * scores.policy_chosen_logps / scores.chosen_lengths
    margin -= 2 * scores.policy_rejected_logps / scores.rejected_lengths
    _is_close(fit(scene, objective).losses[0], -F.logsigmoid(margin - 0.5))


def test_alphapo_has_an_alpha(scene: Scene, tmp_path: Path) -> None:
    settings = {"beta": 2.0, "simpo_gamma": 0.5, "cpo_alpha": 0.0}
    losses = [
        _first_loss(make_cpo_trainer(scene.world, tmp_path, loss_type=loss_type, **settings, **sgd(scene)))
        for loss_type in ("alphapo", "simpo")
    ]
    assert losses[0] == losses[1]
    with pytest.raises(InputError, match=r"AlphaPO.alpha must be a finite number other than 0"):
        AlphaPO(alpha=0.0)


def test_cpo_simpo_is_a_mean_over_pairs(scene: Scene, tmp_path: Path) -> None:
    scores = first_scores(scene, CPOSimPO())
    preference = SimPO(beta=2.0, gamma_beta_ratio=0.25)(scores)
    settings = {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 0.5, "cpo_alpha": NLL_WEIGHT}
    theirs = _first_loss(make_cpo_trainer(scene.world, tmp_path, **settings, **sgd(scene)))
    ours = fit(scene, CPOSimPO(beta=2.0, gamma_beta_ratio=0.25, nll_weight=NLL_WEIGHT)).losses[0]
    _is_close(theirs, preference + NLL_WEIGHT * _over_tokens(scores))
    _is_close(ours, preference - NLL_WEIGHT * scores.policy_chosen_logps / scores.chosen_lengths)
    assert abs(ours - theirs) > APART


def test_orpo_has_the_likelihood_of_the_completion(scene: Scene, tmp_path: Path) -> None:
    scores = first_scores(scene, ORPO())
    means = [
        scores.policy_chosen_logps / scores.chosen_lengths,
        scores.policy_rejected_logps / scores.rejected_lengths,
    ]
    chosen_odds, rejected_odds = (mean.exp() / (1 - mean.exp()) for mean in means)
    odds_ratio = -BETA * F.logsigmoid((chosen_odds / rejected_odds).log())
    theirs = _first_loss(make_orpo_trainer(scene.world, tmp_path, beta=BETA, **sgd(scene)))
    ours = fit(scene, ORPO(odds_weight=BETA)).losses[0]
    _is_close(theirs, odds_ratio + _nll_with_prompts(scene))
    _is_close(ours, odds_ratio - means[0])
    assert abs(ours - theirs) > APART


def test_tpo_imitates_each_gold_completion_alike(scene: Scene, tmp_path: Path) -> None:
    rows = triples(scene.world, gold=(1, 9))
    trainer = make_tpo_trainer(scene.world, tmp_path, rows, beta=BETA, **sgd(scene))
    loader, theirs = triples_as_lists(trainer.train_dataset, BATCH), _first_loss(trainer)
    module = make_module(scene, TPO(beta=BETA))
    ours = fit_module(scene, module, loader).losses[0]
    gold = [(row["prompt_ids"], row["reference_ids"]) for row in trainer.train_dataset][:BATCH]
    nlls = [-_token_logps(scene.world.policy(), *ids) for ids in gold]
    over_tokens, over_prompts = torch.cat(nlls).mean(), torch.stack([each.mean() for each in nlls]).mean()
    _is_close(ours - theirs, over_prompts - over_tokens)
    assert abs(ours - theirs) > APART


def test_mismatched_completions_are_of_other_prompts(scene: Scene, tmp_path: Path) -> None:
    texts = [("x", "a"), ("x", "b"), ("y", "c"), ("z", "d"), ("z", "e")]
    rows = [{"prompt": prompt, "completion": completion, "label": completion != "b"} for prompt, completion in texts]
    theirs = make_kto_trainer(scene.world, tmp_path, rows, **sgd(scene)).train_dataset
    completions = [row["completion_ids"] for row in theirs]
    partners = [completions.index(row["KL_completion_ids"]) for row in theirs]
    assert partners == [3, 0, 1, 2, 4], "the second row has the same prompt as its partner, the fifth is its own"
    data = PreferenceDataModule(
        Dataset.from_list(rows), scene.world.tokenizer(), format=UnpairedFormat(), batch_pairs=BATCH
    )
    fit_module(scene, make_module(scene, KTO()), data)
    pairs = list(data.train_dataloader().batches.dataset)
    assert len(pairs) == len(texts)
    for pair in pairs:
        assert texts[pair.row][0] != texts[completions.index(pair.mismatched_ids)][0]


def _ours(scene: Scene, objective: Objective) -> float:
    return objective(first_scores(scene, objective)).mean().item()


def _trl(scene: Scene, directory: Path, **settings: Any) -> float:
    return _trl_scores(scene, directory, **settings).loss.item()


def _trl_scores(scene: Scene, directory: Path, **settings: Any) -> TRLScores:
    return score(make_trainer(scene.world, directory, beta=BETA, **settings, **sgd(scene)), FIRST)


def _first_loss(trainer: Any) -> float:
    trainer.train()
    return trainer.losses[0]


@torch.no_grad()
def _token_logps(model: Any, prompt: list[int], completion: list[int]) -> Tensor:
    logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)[range(len(completion)), completion]


def _over_tokens(scores: PairScores) -> Tensor:
    """Negative log-likelihood of the chosen completions, where every token counts alike."""
    return -scores.policy_chosen_logps.sum() / scores.chosen_lengths.sum()


@torch.no_grad()
def _nll_with_prompts(scene: Scene) -> float:
    """The same with the prompts, of which the first token has no log-prob: each row by itself."""
    model, tokenizer = scene.world.policy(), scene.world.tokenizer()
    nlls = []
    for row in scene.world.rows[:BATCH]:
        ids = torch.tensor(tokenizer(row["prompt"] + row["chosen"])["input_ids"] + [tokenizer.eos_token_id])
        nlls.append(F.cross_entropy(model(ids[None]).logits[0, :-1], ids[1:], reduction="none"))
    return torch.cat(nlls).mean().item()


def _is_close(value: float, losses: Tensor) -> None:
    assert value == pytest.approx(losses.mean().item(), abs=1e-6)
