"""Checks of this installation and this machine: each thing is tried, as far as that costs no more than a moment."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple

import torch
from packaging.requirements import Requirement

from dpo_lightning import TokenScorer
from dpo_lightning.cli.requirements import OURS, extras, requirements
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from dpo_lightning.utils.text import one_line
from dpo_lightning.utils.version import __version__

_MALLOC = "MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592"


class Check(NamedTuple):
    """Something that works or does not.

    Attributes:
        group: The kind of thing.
        name: A word for it.
        works: Whether it works here.
        text: What was found.
        remedy: What to do where it does not work.
    """

    group: str
    name: str
    works: bool
    text: str
    remedy: str = ""


def checks() -> Iterator[Check]:
    """Yield what was found of installation and machine."""
    yield from _versions()
    yield from _device()
    yield from _kernels()
    yield from _extras()
    yield from _process()


def layout_check(model: str) -> Check:
    """Load a model and try the tree layout on it.

    Raises:
        InputError: for a model that cannot be loaded.
    """
    on_gpu = torch.cuda.is_available()
    policy = build_policy(model, torch.bfloat16 if on_gpu else torch.float32, PolicyOptions()).eval()
    problem = TokenScorer(policy.to("cuda" if on_gpu else "cpu")).tree_problem()
    if problem is None:
        return Check("model", "tree", True, f"exact for {model}: a batch is one packed row without padding")
    return Check(
        "model",
        "tree",
        False,
        f"not exact for {model}: {problem}",
        "nothing: data.layout auto takes padded rows, which are right for every causal model",
    )


def _versions() -> Iterator[Check]:
    yield Check("versions", OURS, True, __version__)
    yield Check("versions", "python", True, f"{platform.python_version()}, {platform.platform()}")
    for requirement in requirements():
        yield _installed("versions", requirement, f"pip install --upgrade '{requirement}'")


def _installed(group: str, requirement: Requirement, remedy: str) -> Check:
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return Check(group, requirement.name, False, "is not installed", remedy)
    fits = requirement.specifier.contains(found, prereleases=True)
    return Check(group, requirement.name, fits, found if fits else f"{found}, not {requirement.specifier}", remedy)


def _extras() -> Iterator[Check]:
    for extra in extras():
        for requirement in requirements(extra):
            found = _installed("extras", requirement, f"pip install '{OURS}[{extra}]'")
            yield found._replace(name=extra, text=f"{requirement.name} {found.text}")


def _device() -> Iterator[Check]:
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(index)
            yield Check("device", "gpu", True, f"{found.name}, {found.total_memory / 2**30:.0f} GiB")
    elif torch.backends.mps.is_available():
        yield Check("device", "gpu", True, "Apple's GPU (mps)")
    else:
        why = "torch is built without CUDA" if torch.version.cuda is None else "torch sees none"
        yield Check("device", "gpu", False, why, "trainer.accelerator: cpu, or a build of torch for the GPU")
    for name, dtype in {"bf16": torch.bfloat16, "fp16": torch.float16}.items():
        yield _precision(name, dtype)


def _precision(name: str, dtype: torch.dtype) -> Check:
    """Multiply two small matrices; on a CPU Lightning has no mixed precision in float16."""
    device = _best_device()
    key = f"trainer.precision: {'bf16' if name == 'bf16' else '16'}-mixed"
    if name == "fp16" and device == "cpu":
        return Check("device", name, False, "not on a CPU", "trainer.precision: bf16-mixed or 32-true")
    problem = _tried(lambda: _multiply(device, dtype))
    slow = name == "bf16" and device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    if problem or slow:
        return Check(
            "device", name, False, problem or "this GPU has it in software alone", "trainer.precision: 16-mixed"
        )
    return Check("device", name, True, f"on {device}, with {key}")


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _multiply(device: str, dtype: torch.dtype) -> None:
    weight = torch.ones(8, 8, device=device, dtype=dtype, requires_grad=True)
    (weight @ weight).sum().backward()


def _tried(action: Callable[[], object]) -> str:
    """Return what goes wrong in one line; nothing where it works."""
    try:
        action()
    except Exception as error:  # a driver's error may be of any class
        return one_line(error, 120)
    return ""


def _kernels() -> Iterator[Check]:
    yield Check("kernels", "blocked", True, "exact attention over a packed row, on every device")
    there = find_spec("torch.nn.attention.varlen") is not None and torch.cuda.is_available()
    text = "flash attention over a packed row, in half precision"
    yield Check("kernels", "varlen_attn", there, text if there else "needs a CUDA GPU", "nothing: blocked computes it")
    for name, module in {"flex_attention": "torch.nn.attention.flex_attention", "triton": "triton"}.items():
        works = find_spec(module) is not None
        text = "there, not used by the tree layout" if works else "is not installed"
        yield Check("kernels", name, works, text, "nothing: torch.compile alone asks for it")


def _process() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Check("process", "cores", True, f"{cores}, {torch.get_num_threads()} threads of torch (--torch_threads)")
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        yield Check("process", "memory", True, f"{memory / 2**30:.1f} GiB")
    if platform.libc_ver()[0] == "glibc" and not torch.cuda.is_available():
        is_set = "MALLOC_TRIM_THRESHOLD_" in os.environ
        advice = "kept between steps" if is_set else f"{_MALLOC} before the command keeps it between steps, on a CPU"
        yield Check("process", "malloc", True, advice)
