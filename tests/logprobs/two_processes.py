"""Gradients through the scorer when two processes share a model, against one process: DDP and FSDP2, on CPUs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import LlamaForCausalLM

from dpo_lightning.batch import collate_tree
from dpo_lightning.logprobs import TokenScorer
from tests.helpers.tiny import PAIRS, tiny_llama

RANKS = 2


class Loss(nn.Module):
    """What a LightningModule's step is to its strategy."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.llama = next(module for module in model.modules() if isinstance(module, LlamaForCausalLM))
        self.scorer = TokenScorer(model)

    def forward(self, rank: int) -> Tensor:
        logps = self.scorer(collate_tree(PAIRS[rank::RANKS])).logps
        return (logps * torch.linspace(0.5, 1.5, len(logps), dtype=logps.dtype)).sum()


def _one_group(loss: Loss) -> nn.Module:
    fully_shard(loss.model)
    return loss


def _one_group_resharded(loss: Loss) -> nn.Module:
    fully_shard(loss.model, reshard_after_forward=True)
    return loss


def _layers(loss: Loss) -> nn.Module:
    for layer in loss.llama.model.layers:
        fully_shard(layer)
    return _one_group(loss)


def _head(loss: Loss) -> nn.Module:
    fully_shard(loss.llama.lm_head)
    return _layers(loss)


def _head_and_embedding(loss: Loss) -> nn.Module:
    fully_shard([loss.llama.model.embed_tokens, loss.llama.lm_head])
    return _layers(loss)


def _untied() -> nn.Module:
    return tiny_llama().double()


def _tied() -> nn.Module:
    return tiny_llama(tie_word_embeddings=True).double()


def _adapted_head() -> nn.Module:
    config = LoraConfig(r=2, init_lora_weights=False, target_modules=["q_proj", "lm_head"])
    return get_peft_model(_untied(), config).double()


CASES: dict[str, tuple[Callable[[Loss], nn.Module], Callable[[], nn.Module]]] = {
    "DDP, untied": (DistributedDataParallel, _untied),
    "DDP, tied": (DistributedDataParallel, _tied),
    "DDP, LoRA on the head": (DistributedDataParallel, _adapted_head),
    "FSDP2, one group, untied": (_one_group, _untied),
    "FSDP2, one group, tied": (_one_group, _tied),
    "FSDP2, one group, LoRA on the head": (_one_group, _adapted_head),
    "FSDP2, one group, resharded after the forward": (_one_group_resharded, _tied),
    "FSDP2, head in the root's group, untied": (_layers, _untied),
    "FSDP2, head in the root's group, tied": (_layers, _tied),
    "FSDP2, head by itself": (_head, _untied),
    "FSDP2, head by itself, LoRA on it": (_head, _adapted_head),
    "FSDP2, head in one group with the embedding that it is tied to": (_head_and_embedding, _tied),
}


def main(rank: int, path: str) -> None:
    """Write the largest error of each case's gradients, relative to its largest gradient."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", init_method=f"file://{path}.store", rank=rank, world_size=RANKS)
    errors = {name: _error(share, build, rank) for name, (share, build) in CASES.items()}
    if rank == 0:
        Path(path).write_text(json.dumps(errors), encoding="utf-8")
    dist.destroy_process_group()


def _error(share: Callable[[Loss], nn.Module], build: Callable[[], nn.Module], rank: int) -> float | str:
    alone, loss = Loss(build()), Loss(build())
    step = share(loss)
    try:
        for _ in range(2):  # the second one accumulates
            for each in range(RANKS):
                (alone(each) / RANKS).backward()
            step(rank).backward()
    except RuntimeError as error:
        return str(error)
    trained = [(one.grad, two.grad) for one, two in zip(alone.parameters(), loss.parameters(), strict=True)]
    if any((one is None) != (two is None) for one, two in trained):
        return "not the same parameters have a gradient"
    gradients = [(one, _whole(two)) for one, two in trained if one is not None]
    largest = max(one.abs().max() for one, _ in gradients)
    return max(float((one - two).abs().max() / largest) for one, two in gradients)


def _whole(gradient: Tensor) -> Tensor:
    return gradient.full_tensor() if isinstance(gradient, DTensor) else gradient
