"""Each private name of another library that `compat` touches is there, and is called as we call it."""

from __future__ import annotations

import importlib
import inspect
import operator
from typing import Any

import pytest
import transformers

# A name, and its parameters without `self`; None for what is no Python function.
TOUCHES: dict[str, list[str] | None] = {
    "lightning.pytorch.loops.fit_loop:_FitLoop._should_accumulate": [],
    "lightning.pytorch.loops.fit_loop:_FitLoop.state_dict": ["destination", "prefix"],
    "lightning.pytorch.callbacks:ModelCheckpoint._find_last_checkpoints": ["trainer"],
    "lightning.pytorch.trainer.connectors.checkpoint_connector:_CheckpointConnector.dump_checkpoint": ["weights_only"],
    "lightning.pytorch.strategies:ModelParallelStrategy.load_checkpoint": ["checkpoint_path", "weights_only"],
    "lightning.pytorch.cli:LightningCLI._parse_ckpt_path": [],
    "lightning.pytorch.cli:LightningCLI._set_seed": [],
    "lightning.pytorch.cli:LightningCLI._run_subcommand": ["subcommand"],
    "lightning.pytorch.cli:instantiate_module": ["class_type", "config"],
    "lightning.pytorch.utilities.model_helpers:_restricted_classmethod": None,
    "torch:_softmax_backward_data": None,
    "torch._C:PyTorchFileReader": None,
    "torch.nn:Module._apply": ["fn", "recurse"],
    "torch.distributed.checkpoint.metadata:_MEM_FORMAT_ENCODING": None,
    "torch.distributed.checkpoint.filesystem:_StorageInfo": None,
    "torch.serialization:_get_layout": ["name"],
    "torchmetrics:Metric._apply": ["fn", "exclude_state"],
    "transformers:PreTrainedModel._no_split_modules": None,
    "transformers:PreTrainedModel._expand_parallel_plan": ["plan"],
    "transformers.distributed.tensor_parallel:apply_tensor_parallelism": ["model", "tp_mesh", "tp_plan"],
    "transformers.modeling_utils:ALL_ATTENTION_FUNCTIONS": None,
    "transformers.masking_utils:ALL_MASK_ATTENTION_FUNCTIONS": None,
    "transformers.models.llama.modeling_llama:eager_attention_forward": None,
    "datasets:Dataset._fingerprint": None,
    "datasets.config:HF_HUB_OFFLINE": None,
    "huggingface_hub.constants:HF_HUB_OFFLINE": None,
}
NEWER_THAN_THE_LOWEST = {
    "transformers:PreTrainedModel._expand_parallel_plan",
    "transformers.distributed.tensor_parallel:apply_tensor_parallelism",
}
MADE_BY_AN_INSTANCE = {"datasets:Dataset._fingerprint"}


def resolve(name: str) -> Any:
    """The object of `module:attribute.path`."""
    module, path = name.split(":")
    return operator.attrgetter(path)(importlib.import_module(module))


HAS_PLANS = hasattr(transformers.PreTrainedModel, "_expand_parallel_plan")
THERE = TOUCHES.keys() - MADE_BY_AN_INSTANCE - (set() if HAS_PLANS else NEWER_THAN_THE_LOWEST)


@pytest.mark.parametrize("name", sorted(THERE))
def test_the_name_is_there_and_takes_what_it_is_given(name: str) -> None:
    expected, found = TOUCHES[name], resolve(name)
    if expected is not None:
        parameters = [each for each in inspect.signature(found).parameters if each != "self"]
        assert parameters == expected


def test_a_name_that_is_gone_fails() -> None:
    with pytest.raises(AttributeError, match="_should_accumulated"):
        resolve("lightning.pytorch.loops.fit_loop:_FitLoop._should_accumulated")
