"""Adapters on the policy: what is trained, and where they start."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn

from dpo_lightning.errors import InputError
from dpo_lightning.policy.lora import LoRA, add_lora
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from tests.helpers.tiny import tiny_llama
from tests.policy.common import logits


class TestLoRA:
    def test_every_field_reaches_peft(self, directory: str) -> None:
        lora = LoRA(
            r=3,
            alpha=5.0,
            dropout=0.25,
            target_modules=["q_proj", "v_proj"],
            use_rslora=True,
            use_dora=True,
            modules_to_save=["lm_head"],
            init_lora_weights="gaussian",
        )
        policy: Any = build_policy(directory, torch.float32, PolicyOptions(lora=lora))
        config = policy.peft_config["default"]

        assert isinstance(policy, PeftModel)
        assert config.task_type == "CAUSAL_LM"
        assert (config.r, config.lora_alpha, config.lora_dropout) == (3, 5.0, 0.25)
        assert config.target_modules == {"q_proj", "v_proj"}
        assert (config.use_rslora, config.use_dora, config.init_lora_weights) == (True, True, "gaussian")
        trainable = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
        kinds = {kind for kind in ("lora_A", "lora_B", "magnitude", "lm_head") for name in trainable if kind in name}
        assert kinds == {"lora_A", "lora_B", "magnitude", "lm_head"}
        assert all("q_proj" in name or "v_proj" in name or "lm_head" in name for name in trainable)
        # rsLoRA: alpha / sqrt(r) instead of alpha / r.
        assert policy.model.model.layers[0].self_attn.q_proj.scaling == {"default": pytest.approx(5 / 3**0.5)}

    def test_all_linear_leaves_the_head_out(self, directory: str) -> None:
        policy = build_policy(directory, torch.float32, PolicyOptions(lora=LoRA(r=2)))
        trainable = [name for name, parameter in policy.named_parameters() if parameter.requires_grad]

        assert len(trainable) == 2 * 7 * 2  # A and B on seven projections of two layers
        assert not any("lm_head" in name for name in trainable)

    def test_starts_as_the_base_model(self, directory: str) -> None:
        policy = build_policy(directory, torch.float32, PolicyOptions(lora=LoRA(r=2)))

        assert torch.equal(logits(policy), logits(tiny_llama()))

    def test_on_a_plain_module(self) -> None:
        plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

        policy = build_policy(plain, torch.float32, PolicyOptions(lora=LoRA(r=2, target_modules=["0"])))

        assert [name for name, p in policy.named_parameters() if p.requires_grad] == [
            "base_model.model.0.lora_A.default.weight",
            "base_model.model.0.lora_B.default.weight",
        ]

    @pytest.mark.parametrize("settings", [{"r": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"dropout": -0.1}], ids=str)
    def test_refuses_settings_without_meaning(self, settings: dict[str, Any]) -> None:
        with pytest.raises(InputError, match=rf"^lora\.{next(iter(settings))} must be"):
            LoRA(**settings)

    def test_unknown_target_is_one_line(self, directory: str) -> None:
        with pytest.raises(InputError, match=r"^lora: Target modules .*nowhere.* not found") as caught:
            build_policy(directory, torch.float32, PolicyOptions(lora=LoRA(target_modules=["nowhere"])))
        assert "\n" not in str(caught.value)

    def test_on_an_adapted_model_begins_where_that_stands(self, directory: str) -> None:
        lora = LoRA(r=2, init_lora_weights=False)
        adapted = build_policy(directory, torch.float32, PolicyOptions(lora=lora))
        expected = logits(adapted)

        policy = build_policy(adapted, torch.float32, PolicyOptions(lora=LoRA(r=3)))

        torch.testing.assert_close(logits(policy), expected, rtol=1e-4, atol=1e-4)
        assert policy.peft_config["default"].r == 3

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("pissa_niter_4", "leaves other frozen weights each time, .* take one that gives the same twice"),
            ("eva", "needs a step over the data that is not made here"),
            ("corda", "`eigens` attribute not found"),
            ("nonsense", "Unknown initialization"),
            ("pissa_niter_x", "is none that PEFT knows: a whole number belongs at its end"),
        ],
    )
    def test_an_initialisation_that_does_not_last_is_refused(self, directory: str, name: str, message: str) -> None:
        with pytest.raises(InputError, match=rf"^lora: init_lora_weights='{name}' {message}") as caught:
            build_policy(directory, torch.float32, PolicyOptions(lora=LoRA(r=2, init_lora_weights=name)))
        assert "\n" not in str(caught.value)

    def test_the_adapter_names_the_revision_of_its_base(self) -> None:
        policy: Any = add_lora(tiny_llama(), LoRA(r=2), "v1")
        assert policy.peft_config["default"].revision == "v1"


@pytest.mark.parametrize("name", ["target_modules", "exclude_modules"])
def test_a_pattern_that_is_none_is_named(name: str) -> None:
    with pytest.raises(InputError, match=rf"^lora\.{name}: '\(' is no regular expression"):
        LoRA(**{name: "("})


def test_all_linear_leaves_out_a_router_that_returns_several_tensors(caplog) -> None:
    class Router(nn.Linear):
        def forward(self, states):  # type: ignore[override]
            logits = super().forward(states)
            return logits.sigmoid(), logits

    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router, self.up = Router(4, 2), nn.Linear(4, 4)

        def forward(self, states):
            return self.up(states) * self.router(states)[0].sum(-1, keepdim=True)

    with caplog.at_level("INFO"):
        adapted = add_lora(Experts(), LoRA(r=2))
    assert "lora: all-linear leaves out 1 linear layers" in caplog.text
    assert adapted(torch.ones(3, 4)).shape == (3, 4)
    assert {name.split(".")[2] for name, each in adapted.named_parameters() if each.requires_grad} == {"up"}
