"""torch's kernels, modules and checkpoint files, where they have no public door."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import OptState
from torch.optim.lr_scheduler import LRScheduler

T = TypeVar("T")

SHARD_METADATA_TYPES: dict[str, set[str]] = {
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size", *(name for name, value in vars(torch).items() if isinstance(value, torch.dtype))},
    "pathlib": {"PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"},
    "pathlib._local": {"PosixPath", "WindowsPath"},
    "collections": {"OrderedDict"},
}
"""The names, by module, that torch pickles into the `.metadata` of a directory of shards.

They are the file format, which torch documents nowhere. Where they change, directories of the new torch are refused.
"""


def default_store() -> Any:
    """Return the key-value store through which the processes of the group have met.

    Calls `torch.distributed.distributed_c10d._get_default_store`: the public ways to one need a port of their own.
    Where it changes, a rank that hangs is not named.

    Raises:
        ValueError: where there is no process group.
    """
    return torch.distributed.distributed_c10d._get_default_store()


def group_timeout(strategy: Any) -> float:
    """Return the seconds after which a collective of a Lightning strategy's process group gives up.

    Reads `_timeout` of `DDPStrategy` and `ModelParallelStrategy`, their constructor's `timeout`, kept nowhere else.
    Where it changes, torch's default is taken.
    """
    default = torch.distributed.constants.default_pg_timeout
    return (getattr(strategy, "_timeout", None) or default).total_seconds()


def softmax_gradient(gradient: Tensor, probabilities: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the gradient of scores from that of their softmax over the last dimension, `p * (dp - sum(p * dp))`.

    Calls `torch._softmax_backward_data`, the kernel of torch's own softmax: written out, the product would be a third
    tensor of this size.
    """
    return torch._softmax_backward_data(gradient, probabilities, -1, dtype)


def grouped_heads(kernel: Callable[..., Any], query_heads: int, key_heads: int) -> dict[str, bool]:
    """Return the argument that tells a variable-length attention of fewer key heads than query heads.

    `torch.nn.attention.varlen.varlen_attn` wants `enable_gqa` from torch 2.13 on; before, it has no such argument and
    groups the heads by itself.
    """
    return {"enable_gqa": query_heads != key_heads} if _takes_enable_gqa(kernel) else {}


@lru_cache(maxsize=8)
def _takes_enable_gqa(kernel: Callable[..., Any]) -> bool:
    """Return it once a kernel: to read a signature takes as long as half of a layer's attention on the host."""
    return "enable_gqa" in inspect.signature(kernel).parameters


def activate_flash_attention(name: str) -> str | None:
    """Let torch's flash attention run another library's kernels, and return the reason why it cannot, or None.

    Calls `torch.nn.attention.activate_flash_attention_impl`, which not every torch has, and which raises what the
    import of that library raises.
    """
    activate: Callable[[str], None] | None = getattr(torch.nn.attention, "activate_flash_attention_impl", None)
    if activate is None:
        return f"torch {torch.__version__} has no torch.nn.attention.activate_flash_attention_impl"
    try:
        activate(name)
    except Exception as error:  # that of a library's import may be anything
        return f"{type(error).__name__}: {error}"
    return None


def active_flash_attention() -> str | None:
    """Return the name of the library whose kernels torch's flash attention runs; None for its own."""
    current: Callable[[], str | None] = getattr(torch.nn.attention, "current_flash_attention_impl", lambda: None)
    return current()


def restore_flash_attention() -> None:
    """Let torch's flash attention run its own kernels again, after `activate_flash_attention`."""
    restore: Callable[[], None] = torch.nn.attention.restore_flash_attention_impl
    restore()


def compiled(function: Callable[..., T]) -> Callable[..., T]:
    """Compile a function as one graph, for any length of its tensors, and anew for each float among its arguments.

    Sets `torch._dynamo.config.specialize_float` for the call: a second scale or soft-cap would become a symbol, which
    breaks FlexAttention's graph; and `recompile_limit`, since heads, windows and modes may be more than 8 kinds.
    """
    as_one: Callable[..., T] = torch.compile(function, fullgraph=True)

    def call(*args: Any) -> T:
        with torch._dynamo.config.patch(specialize_float=True, recompile_limit=128):
            return as_one(*args)

    return call


def check_archive(path: Path) -> None:
    """Open a file as `torch.load` would.

    Calls `torch._C.PyTorchFileReader`, which is stricter than `zipfile` about the end of the file and looks at no
    checksum; the public `torch.load` would unpickle as well.

    Raises:
        RuntimeError: for what is no whole archive.
    """
    torch._C.PyTorchFileReader(str(path))


def non_persistent_buffers(module: nn.Module) -> set[str]:
    """Return the names of a module's own buffers that its state dict leaves out.

    Touches `Module._non_persistent_buffers_set`: `state_dict()` would say it too, at the cost of its hooks, which may
    gather sharded weights.
    """
    return set(module._non_persistent_buffers_set)


class ConvertedInside(nn.Module):
    """A module whose `.to()`, `.half()` and the like run inside a context of its own.

    Touches `Module._apply`, which all of them call and which is torch's only door for them. Where it changes, RoPE's
    frequencies are rounded with the weights.
    """

    def converting(self) -> AbstractContextManager[None]:
        """Return the context."""
        raise NotImplementedError

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        with self.converting():
            return super()._apply(fn, recurse)


def loss_scale(scaler: torch.amp.GradScaler) -> Tensor | None:
    """Return the factor of the loss, 0-d on the device; None where nothing was scaled yet.

    Touches `GradScaler._scale`: the public `get_scale()` waits for the device.
    """
    return scaler._scale


def is_unscaled(scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer) -> bool:
    """Return whether the scaler has divided the gradients of an optimizer by its factor.

    Touches `GradScaler._per_optimizer_states`: a fused optimizer divides them itself while it steps, and whether others
    have been divided yet depends on the moment.
    """
    state = scaler._per_optimizer_states.get(id(optimizer))
    return state is not None and state["stage"] is not OptState.READY


def fuse(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer of torch's that has not stepped run as one fused kernel, as if it had been made with `fused`.

    The class sets attributes of its own for that, such as `_step_supports_amp_scaling`, by which a `GradScaler` leaves
    the division to the kernel: they are taken from a fused one of one weight. Made anew, it would lose its hooks.
    """
    fused: Any = type(optimizer)
    settings = {**vars(fused([nn.Parameter(torch.zeros(1))], fused=True))}
    for name in settings.keys() - vars(optimizer).keys():
        setattr(optimizer, name, settings[name])
    for settings in (optimizer.defaults, *optimizer.param_groups):
        settings["fused"] = True


@contextmanager
def forward_replaced(module: nn.Module, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside the block, calls of the module run `forward`; its hooks, which gather sharded weights, run as before.

    Puts an attribute `forward` on the instance, which `Module.__call__` finds before the class's method. A hook could
    change the output only after the module's own forward had run, which is what is to be saved.
    """
    before = vars(module).get("forward")
    vars(module)["forward"] = forward
    try:
        yield
    finally:
        if before is None:
            del vars(module)["forward"]
        else:
            vars(module)["forward"] = before


def has_own_forward(module: nn.Module) -> bool:
    """Return whether an instance has a `forward` in place of its class's."""
    return "forward" in vars(module)


def is_of_groups(error: ValueError) -> bool:
    """Return whether an optimizer says that it takes one parameter group only.

    Reads the message of `torch.optim.LBFGS`, since a maker of an optimizer does not say what it will make. Where torch
    words it otherwise, LBFGS is refused in torch's words.
    """
    return "doesn't support per-parameter options" in str(error)


def set_rates(scheduler: LRScheduler, rates: list[Any]) -> None:
    """Let a scheduler say that it has set these rates, one for each group.

    Touches `LRScheduler._last_lr`, which `get_last_lr` returns and nothing public sets but a step. Where it changes,
    that is the rate before a resume, until the next step.
    """
    scheduler._last_lr = rates


def changes_of(tensor: Tensor) -> int:
    """Return how often a tensor was changed in place; 0 of one made in inference mode, where none is counted.

    Touches `Tensor._version`, autograd's own count, which it has no public name for.
    """
    return 0 if tensor.is_inference() else tensor._version
