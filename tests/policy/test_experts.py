"""The balance of experts: against a loop, against transformers, in both layouts, and where there is none."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import SGD
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from dpo_lightning import LoRA, PreferenceModule
from dpo_lightning.batch import PreferenceBatch, TokenizedExample, collate_padded, collate_tree
from dpo_lightning.errors import InputError
from dpo_lightning.policy.experts import Experts, Routing, balance_loss, expert_load, load_metrics
from tests.helpers.runs import data, module, trainer
from tests.helpers.tiny import PAIRS, tiny_llama

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
    "eos_token_id": 2,
    "num_experts_per_tok": 2,
}
FOUR = {
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": {"num_experts": 4, "moe_intermediate_size": 16},
    "granitemoe": {"num_local_experts": 4},
    "gpt_oss": {"num_local_experts": 4, "head_dim": 8},
    "olmoe": {"num_experts": 4},
}
DEEPSEEK = {
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 16,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
}


FIRST_GATE = ("model.layers.0.mlp.gate.weight", "model.layers.0.block_sparse_moe.gate.weight")  # since 5, and before


def mixture(kind: str = "mixtral", **settings: Any) -> Any:
    torch.manual_seed(0)
    own = DEEPSEEK if kind == "deepseek_v3" else FOUR[kind]
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SIZES, **own, **settings}))


def auxiliary(model: Any, batch: PreferenceBatch, **settings: Any) -> torch.Tensor:
    """The loss of one forward, without its factor."""
    run = PreferenceModule(model, router_aux_loss_coef=1.0, **settings)
    run.configure_model()
    run.models.scored(batch)
    return run.models.experts.balanced(torch.zeros(1, dtype=torch.float64)).squeeze()


def in_a_loop(routings: list[Routing], counted: list[bool]) -> float:
    """The loss, token by token."""
    experts = routings[0].logits.shape[-1]
    sent, probability, seen = [0.0] * experts, [0.0] * experts, 0
    for logits, chosen in routings:
        for token, counts in enumerate(counted):
            if not counts:
                continue
            seen += 1
            for expert in chosen[token].tolist():
                sent[expert] += 1
            for expert, value in enumerate(logits[token].softmax(-1).tolist()):
                probability[expert] += value
    return experts * sum(f / seen * p / seen for f, p in zip(sent, probability, strict=True))


def theirs(logits: list[torch.Tensor], mask: torch.Tensor | None) -> float:
    return load_balancing_loss_func(tuple(logits), 5, 2, None if mask is None else mask[None]).item()


def test_the_loss_is_that_of_a_loop_and_of_transformers() -> None:
    logits = [torch.randn(9, 5, dtype=torch.float64) for _ in range(3)]
    routings = [Routing(each, each.topk(2).indices) for each in logits]
    counted = torch.tensor([1, 1, 0, 1, 0, 1, 1, 1, 0], dtype=torch.bool)

    for mask in (None, counted):
        loss = balance_loss(routings, mask)
        everything = [True] * 9 if mask is None else mask.tolist()
        assert loss.item() == pytest.approx(in_a_loop(routings, everything), rel=1e-12)
        assert loss.item() == pytest.approx(theirs(logits, mask), rel=1e-6)


def test_even_routing_gives_the_number_of_experts_of_a_token() -> None:
    routing = Routing(torch.zeros(4, 4), torch.tensor([[0, 1], [2, 3], [0, 1], [2, 3]]))

    assert balance_loss([routing]).item() == 2
    assert {name: value.item() for name, value in load_metrics(expert_load([routing])).items()} == {
        "experts/max_share": 0.25,
        "experts/entropy": 1.0,
    }


@pytest.mark.parametrize("kind", FOUR)
def test_it_is_the_models_own_over_a_packed_row_and_the_same_in_padded_rows(kind: str) -> None:
    model = mixture(kind, attn_implementation="eager")
    row = collate_tree([TokenizedExample.pair(0, [3, 4, 5], [6, 7, 8], [])])
    alone = model(input_ids=row.input_ids, output_router_logits=True).aux_loss

    assert auxiliary(model, row).item() == pytest.approx(alone.item(), rel=1e-5)
    tree, padded = (auxiliary(mixture(kind), collate(PAIRS)).item() for collate in (collate_tree, collate_padded))
    assert tree == pytest.approx(padded, rel=1e-5)


def test_its_gradient_is_right_with_recomputed_activations() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = mixture().double()
        auxiliary(model, collate_tree(PAIRS), gradient_checkpointing=checkpointing).backward()
        (gate,) = [each for name, each in model.named_parameters() if name.startswith(FIRST_GATE)]
        gradients.append(gate.grad)

    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("given", "factor"), [(None, 0.5), (0.0, 0.0), (2.0, 2.0)])
def test_the_config_has_the_factor_unless_one_is_given(given: float | None, factor: float) -> None:
    run = module(mixture(router_aux_loss_coef=0.5), router_aux_loss_coef=given)
    run.configure_model()
    run.models.scored(collate_tree(PAIRS))

    losses = run.models.experts.balanced(torch.zeros(2))
    assert losses.tolist() == pytest.approx([factor * auxiliary(mixture(), collate_tree(PAIRS)).item()] * 2)


def test_it_is_trained_and_logged(tmp_path: Any) -> None:
    seen = []
    for factor in (0.0, 0.1, 50.0):
        run = module(mixture(vocab_size=259), router_aux_loss_coef=factor, optimizer=partial(SGD, lr=0.05))
        runner = trainer(max_steps=12)
        runner.fit(run, data(tmp_path))
        metrics = runner.callback_metrics
        assert 0.25 <= metrics["train/experts/max_share"] <= 0.5  # of four experts, two for each token
        assert 0 < metrics["train/experts/entropy"] <= 1
        if factor:
            seen.append(metrics["train/router_aux_loss"].item())
    assert seen[1] < seen[0]


def test_the_reference_is_not_counted() -> None:
    run = module(mixture(), lora=LoRA(r=2, target_modules=["q_proj"]), router_aux_loss_coef=1.0)
    run.configure_model()
    batch = collate_tree(PAIRS)
    run.score(batch)

    metrics = run.models.experts.metrics()
    assert metrics["experts/max_share"] <= 0.5
    assert run.models.experts.balanced(torch.zeros(1)).item() == pytest.approx(auxiliary(mixture(), batch).item())


def test_routers_without_an_auxiliary_loss_are_watched() -> None:
    run = module(mixture("deepseek_v3"))
    run.configure_model()
    run.models.scored(collate_tree(PAIRS))

    assert run.models.experts.metrics().keys() == {"experts/max_share", "experts/entropy"}
    assert run.models.experts.balanced(torch.zeros(1)).item() == 0


def test_a_model_without_routers() -> None:
    run = module()
    run.configure_model()
    run.models.scored(collate_tree(PAIRS))

    assert run.models.experts.metrics() == {}
    with pytest.raises(InputError, match=r"router_aux_loss_coef: 0.1 was given, and LlamaForCausalLM has no router"):
        Experts(tiny_llama(), 0.1)
    for wrong in (-1.0, float("nan")):
        with pytest.raises(InputError, match="a number of 0 or more is needed"):
            Experts(tiny_llama(), wrong)
