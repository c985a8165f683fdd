"""What the GPU path calls of other libraries is there, under the arguments that it is called with.

`FEATURES` says where each is found and what the package does without it; `docs/versions.md` has the same table for
people. The signatures of versions that are not installed stand here as they were documented.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
import torch
from torch import Tensor

from dpo_lightning.attention.kernels import Softmax
from dpo_lightning.attention.kernels.varlen import varlen_attention
from dpo_lightning.compat.transformers import offloads
from tests.attention.rows import SHORT, heads, mask_of

VERSIONS = Path(__file__).parents[2] / "docs" / "versions.md"


def _of_2_11(  # noqa: PLR0913 - torch's
    query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: Any, max_k: Any,
    *, return_aux: Any = None, scale: Any = None, window_size: Any = (-1, -1),
) -> None:  # fmt: skip
    """As the documentation of torch had it between the branches of 2.10 and 2.12; 2.11.0 refuses `enable_gqa`."""


def _of_2_12(  # noqa: PLR0913 - torch's
    query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: Any, max_k: Any,
    *, return_aux: Any = None, scale: Any = None, window_size: Any = (-1, -1), enable_gqa: Any = False,
    seqused_k: Any = None, block_table: Any = None, num_splits: Any = None,
) -> None:  # fmt: skip
    """As docs.pytorch.org/docs/2.12/nn.attention.varlen.html has it."""


def _installed() -> Callable[..., Any]:
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn


class Called:
    """A kernel with the signature of another, which notes the arguments of each call by their names."""

    def __init__(self, like: Callable[..., Any]) -> None:
        self.__signature__ = inspect.signature(like)
        self.calls: list[dict[str, Any]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        self.calls.append(self.__signature__.bind(*args, **kwargs).arguments)
        return torch.zeros_like(args[0])


@pytest.mark.parametrize("version", ["2.11", "2.12", "installed"])
@pytest.mark.parametrize("groups", [1, 4])
def test_varlen_is_called_as_each_version_of_torch_wants_it(
    version: str, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails for an argument that a version does not know, and where grouped heads are not told to one that asks."""
    like = {"2.11": _of_2_11, "2.12": _of_2_12}.get(version) or _installed()
    kernel = Called(like)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)

    varlen_attention(*heads(SHORT, groups=groups), mask_of(SHORT), Softmax(0.3))

    (call,) = kernel.calls
    assert (call["scale"], call["window_size"]) == (0.3, (-1, 0))
    asks = "enable_gqa" in inspect.signature(like).parameters
    assert call.get("enable_gqa", False) == (asks and call["query"].shape[1] != call["key"].shape[1])


class Feature(NamedTuple):
    """A part of another library that the GPU path uses.

    Attributes:
        library: Its name.
        since: The lowest version that has it, as far as it was looked up.
        is_there: Looks for it in the installed version.
    """

    library: str
    since: str
    is_there: Callable[[], bool]


def _takes(function: Callable[..., Any], *names: str) -> bool:
    return set(names) <= set(inspect.signature(function).parameters)


def _flex() -> bool:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    return _takes(flex_attention, "score_mod", "block_mask", "scale", "enable_gqa", "return_lse") and _takes(
        create_block_mask, "mask_mod", "B", "H", "Q_LEN", "KV_LEN", "device"
    )


def _checkpointing(name: str) -> bool:
    from transformers import PreTrainedModel

    return hasattr(PreTrainedModel, name)


def _offload() -> bool:
    from transformers import PreTrainedModel

    return offloads(cast(Any, PreTrainedModel))


def _nested_graph_breaks() -> bool:
    import torch._dynamo.config

    return hasattr(torch._dynamo.config, "nested_graph_breaks")


def _get_interface() -> bool:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    return hasattr(ALL_ATTENTION_FUNCTIONS, "get_interface")


FEATURES = {
    "varlen_attn(scale=, window_size=)": Feature("torch", "2.11", lambda: _takes(_installed(), "scale", "window_size")),
    "varlen_attn(enable_gqa=)": Feature("torch", "2.12", lambda: _takes(_installed(), "enable_gqa")),
    "flex_attention, create_block_mask": Feature("torch", "2.11", _flex),
    "activate_flash_attention_impl": Feature(
        "torch", "2.10", lambda: hasattr(torch.nn.attention, "activate_flash_attention_impl")
    ),
    "mm(out_dtype=), addmm(out_dtype=)": Feature(
        "torch",
        "2.10",
        lambda: "dtype" in torch.ops.aten.mm.overloads() and "dtype" in torch.ops.aten.addmm.overloads(),
    ),
    "AdamW(fused=), with grad_scale and found_inf": Feature(
        "torch", "2.11", lambda: _takes(torch.optim.AdamW.__init__, "fused") and _reads_found_inf()
    ),
    "torch.compile(dynamic=, fullgraph=, backend=)": Feature(
        "torch", "2.11", lambda: _takes(torch.compile, "dynamic", "fullgraph", "backend")
    ),
    "torch.compile(recompile_limit=, isolate_recompiles=)": Feature(
        "torch", "2.13", lambda: _takes(torch.compile, "recompile_limit", "isolate_recompiles")
    ),
    "torch._dynamo.config.nested_graph_breaks": Feature("torch", "2.13", _nested_graph_breaks),
    "gradient_checkpointing_enable": Feature(
        "transformers", "4.57", lambda: _checkpointing("gradient_checkpointing_enable")
    ),
    "activation_checkpointing_enable": Feature(
        "transformers", "5.21", lambda: _checkpointing("activation_checkpointing_enable")
    ),
    "activation_checkpointing_enable(offload=)": Feature("transformers", "5.23", _offload),
    "ALL_ATTENTION_FUNCTIONS.get_interface": Feature("transformers", "5.17", _get_interface),
}


def _reads_found_inf() -> bool:
    arguments = {argument.name for argument in torch.ops.aten._fused_adamw_.default._schema.arguments}
    return {"grad_scale", "found_inf"} <= arguments


def _version(library: str) -> tuple[int, ...]:
    from importlib.metadata import version

    return tuple(map(int, version(library).split("+")[0].split(".")[:2]))


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_is_there_from_the_version_on_that_the_table_says(name: str) -> None:
    """Fails where a version of torch or transformers takes away what the GPU path calls."""
    feature = FEATURES[name]
    since = tuple(map(int, feature.since.split(".")))
    assert feature.is_there() or _version(feature.library) < since


def test_the_page_has_the_same_features() -> None:
    """Fails for a feature that the page does not name, or names with another version."""
    rows = [line.split("|") for line in VERSIONS.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    listed = {row[1].strip().replace("`", ""): (row[2].strip(), row[3].strip()) for row in rows if len(row) == 6}
    assert listed == {name: (feature.library, feature.since) for name, feature in FEATURES.items()}
