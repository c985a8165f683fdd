"""Deviations of TRL 1.16.0 from the papers, or from what its options say; ours follow the papers."""

from __future__ import annotations

from typing import NamedTuple


class Deviation(NamedTuple):
    """A deviation, and the test that shows it.

    Attributes:
        objective: Ours.
        trl: What TRL does.
        paper: What the paper says, with the equation, or what was to be expected.
        test: In `tests/parity/test_deviations.py`, which shows both, and how large the difference is.
    """

    objective: str
    trl: str
    paper: str
    test: str


DEVIATIONS = (
    Deviation(
        "DPO",
        "`label_smoothing` has no effect on `loss_type='sigmoid'`, and nothing says so",
        "conservative DPO, https://ericmitchell.ai/cdpo.pdf equation 3",
        "test_dpo_is_smoothed",
    ),
    Deviation(
        "IPO",
        "`loss_type='ipo'` has mean log-ratios per token only",
        "sums over the completion, arXiv:2310.12036 equation 17; ours has both, `per_token=False` is the paper's",
        "test_ipo_has_sums",
    ),
    Deviation(
        "IPO, LengthNormalizedDPO",
        "lengths count a completion's first token also where no prompt predicts it, so that it has no log-prob",
        "lengths are those of what was scored; ours drop rows without a prompt, or put BOS there",
        "test_lengths_of_rows_without_a_prompt",
    ),
    Deviation(
        "PairedBCO",
        "`loss_type='bco_pair'` has no reward shift",
        "delta = (E[r_w] + E[r_l]) / 2 is subtracted from both rewards, arXiv:2404.04656",
        "test_bco_has_a_reward_shift",
    ),
    Deviation(
        "AlphaDivergence",
        "`f_alpha_divergence_coef` is 1 - alpha of the paper (the default, 0.5, is the same in both), and may lie "
        "outside (0, 1)",
        "f'(u) = (1 - u^-alpha) / alpha with alpha in (0, 1), arXiv:2309.16240 table 1",
        "test_alpha_is_the_papers",
    ),
    Deviation(
        "FDivergence",
        "the rewards that it logs are beta x log-ratio under every divergence",
        "r = beta f'(u) + const, arXiv:2309.16240",
        "test_the_reward_is_the_divergences",
    ),
    Deviation(
        "RobustDPO",
        "`label_smoothing=0.5` warns, and the loss is not finite",
        "a share of flips in [0, 0.5), arXiv:2403.00409",
        "test_half_of_the_labels_cannot_be_flipped",
    ),
    Deviation(
        "SFT",
        "`loss_type='sft'` is the mean over the tokens of the micro-batch: a pair counts by its length",
        "a mean over pairs of -log pi(y_w | x) / |y_w|, as MPO's generation loss, arXiv:2411.10442",
        "test_sft_is_a_mean_over_pairs",
    ),
    Deviation(
        "SFT",
        "`ld_alpha` and `f_divergence_type` are accepted with `loss_type='sft'` and have no effect",
        "an option that nothing reads is refused",
        "test_sft_has_no_divergence_and_no_alpha",
    ),
    Deviation(
        "WPO",
        "`use_weighting` is accepted with `hinge` and `sft`, and the first step raises a RuntimeError",
        "any loss of a pair can be weighted, arXiv:2406.11827 equation 2",
        "test_hinge_and_sft_can_be_weighted",
    ),
    Deviation(
        "CPO",
        "the likelihood term is the mean over the chosen tokens of the micro-batch, as in the authors' code",
        "summed over the completion, mean over pairs, arXiv:2401.08417 equations 3 to 5; `nll_per_token=True` divides "
        "by each completion's length",
        "test_cpo_has_the_summed_likelihood",
    ),
    Deviation(
        "SimPO",
        "`loss_type='simpo'` has CPO's likelihood term with weight 1 unless `cpo_alpha` is set to 0",
        "no such term, arXiv:2405.14734 equation 6",
        "test_simpo_has_no_likelihood",
    ),
    Deviation(
        "AlphaPO",
        "`loss_type='alphapo'` is SimPO unless `alpha` is set, too",
        "alpha is what AlphaPO adds to SimPO, arXiv:2501.03884; 0 is refused",
        "test_alphapo_has_an_alpha",
    ),
    Deviation(
        "CPOSimPO",
        "the likelihood term is the mean over the chosen tokens of the micro-batch",
        "per token of each completion like its SimPO term, mean over pairs; there is no paper",
        "test_cpo_simpo_is_a_mean_over_pairs",
    ),
    Deviation(
        "ORPO",
        "the likelihood term has the prompt's tokens too, and is the mean over the tokens of the micro-batch, as the "
        "authors' code by default",
        "the likelihood of the chosen completion after the prompt, per token, arXiv:2403.07691 equation 6",
        "test_orpo_has_the_likelihood_of_the_completion",
    ),
    Deviation(
        "TPO",
        "the likelihood term is the mean over the gold tokens of the micro-batch: a prompt counts by its length",
        "an expectation over prompts, arXiv:2405.16681; ours is per token of each gold completion, mean over prompts",
        "test_tpo_imitates_each_gold_completion_alike",
    ),
    Deviation(
        "KTO",
        "a mismatched completion is that of the row before in the micro-batch: it may answer the same prompt, and in a "
        "last batch of one row it is the row's own",
        "an output of another prompt, arXiv:2402.01306, the estimate of z_0",
        "test_mismatched_completions_are_of_other_prompts",
    ),
)
