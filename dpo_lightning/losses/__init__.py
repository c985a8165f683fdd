"""Preference losses: pure functions, and objectives that hold their settings."""

from dpo_lightning.losses.adaptive_beta import AdaptiveBeta
from dpo_lightning.losses.all_pairs import AllPairs
from dpo_lightning.losses.aot import AOTPaired, AOTUnpaired, aot_paired, aot_unpaired
from dpo_lightning.losses.apo import APODown, APOZero, apo_down, apo_zero
from dpo_lightning.losses.apo_unpaired import APOZeroUnpaired, apo_zero_unpaired
from dpo_lightning.losses.base import (
    AnyObjective,
    ChosenObjective,
    MarginObjective,
    Objective,
    Observation,
    Reads,
    Rewards,
    UnpairedObjective,
)
from dpo_lightning.losses.bco import PairedBCO, paired_bco
from dpo_lightning.losses.beta import BetaObjective
from dpo_lightning.losses.beta_dpo import BetaDPO, beta_dpo
from dpo_lightning.losses.cal_dpo import CalDPO, cal_dpo
from dpo_lightning.losses.chipo import ChiPO, chipo
from dpo_lightning.losses.compares import Compares
from dpo_lightning.losses.cpo import CPO, CPOSimPO, cpo, cpo_simpo
from dpo_lightning.losses.discopop import DiscoPOP, discopop
from dpo_lightning.losses.dpo import DPO, dpo
from dpo_lightning.losses.dpop import DPOP, dpop
from dpo_lightning.losses.exo import EXO, exo
from dpo_lightning.losses.fdivergence import (
    AlphaDivergence,
    Divergence,
    FDivergence,
    ForwardKL,
    JensenShannon,
    ReverseKL,
)
from dpo_lightning.losses.hinge import Hinge, hinge
from dpo_lightning.losses.ipo import IPO, ipo
from dpo_lightning.losses.kto import KTO, kto
from dpo_lightning.losses.length_normalized import LengthNormalizedDPO, length_normalized_dpo
from dpo_lightning.losses.length_regularized import LengthRegularizedDPO, length_regularized_dpo
from dpo_lightning.losses.lists import ListObjective
from dpo_lightning.losses.modifiers import LDDPO, WPO, RowWeighted, Weighted
from dpo_lightning.losses.nca import NCA, nca
from dpo_lightning.losses.orpo import ORPO, orpo
from dpo_lightning.losses.per_token import PerToken
from dpo_lightning.losses.plackett_luce import PlackettLuceDPO, plackett_luce_dpo
from dpo_lightning.losses.qrpo import QRPO, qrpo
from dpo_lightning.losses.robust import RobustDPO, robust_dpo
from dpo_lightning.losses.rpo import RPO, rpo
from dpo_lightning.losses.sft import SFT, sft
from dpo_lightning.losses.simper import SimPER, simper
from dpo_lightning.losses.simpo import AlphaPO, SimPO, alphapo, simpo
from dpo_lightning.losses.soft_labels import (
    DistilledDPO,
    RewardAwareKL,
    RewardAwareSquared,
    SoftLabelDPO,
    distilled_dpo,
    reward_aware_kl,
    reward_aware_squared,
    soft_label_dpo,
)
from dpo_lightning.losses.sppo import SPPO, sppo
from dpo_lightning.losses.tpo import TPO, tpo
from dpo_lightning.losses.unpaired_bco import UnpairedBCO, unpaired_bco

__all__ = [
    "CPO",
    "DPO",
    "DPOP",
    "EXO",
    "IPO",
    "KTO",
    "LDDPO",
    "NCA",
    "ORPO",
    "QRPO",
    "RPO",
    "SFT",
    "SPPO",
    "TPO",
    "WPO",
    "AOTPaired",
    "AOTUnpaired",
    "APODown",
    "APOZero",
    "APOZeroUnpaired",
    "AdaptiveBeta",
    "AllPairs",
    "AlphaDivergence",
    "AlphaPO",
    "AnyObjective",
    "BetaDPO",
    "BetaObjective",
    "CPOSimPO",
    "CalDPO",
    "ChiPO",
    "ChosenObjective",
    "Compares",
    "DiscoPOP",
    "DistilledDPO",
    "Divergence",
    "FDivergence",
    "ForwardKL",
    "Hinge",
    "JensenShannon",
    "LengthNormalizedDPO",
    "LengthRegularizedDPO",
    "ListObjective",
    "MarginObjective",
    "Objective",
    "Observation",
    "PairedBCO",
    "PerToken",
    "PlackettLuceDPO",
    "Reads",
    "ReverseKL",
    "RewardAwareKL",
    "RewardAwareSquared",
    "Rewards",
    "RobustDPO",
    "RowWeighted",
    "SimPER",
    "SimPO",
    "SoftLabelDPO",
    "UnpairedBCO",
    "UnpairedObjective",
    "Weighted",
    "alphapo",
    "aot_paired",
    "aot_unpaired",
    "apo_down",
    "apo_zero",
    "apo_zero_unpaired",
    "beta_dpo",
    "cal_dpo",
    "chipo",
    "cpo",
    "cpo_simpo",
    "discopop",
    "distilled_dpo",
    "dpo",
    "dpop",
    "exo",
    "hinge",
    "ipo",
    "kto",
    "length_normalized_dpo",
    "length_regularized_dpo",
    "nca",
    "orpo",
    "paired_bco",
    "plackett_luce_dpo",
    "qrpo",
    "reward_aware_kl",
    "reward_aware_squared",
    "robust_dpo",
    "rpo",
    "sft",
    "simper",
    "simpo",
    "soft_label_dpo",
    "sppo",
    "tpo",
    "unpaired_bco",
]
