"""Optimizers and schedules by the names of transformers, as objects of ours."""

from __future__ import annotations

from typing import NamedTuple

from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.tree import From, Tree, made


class Optimizer(NamedTuple):
    """An optimizer's class, with what it is given.

    Attributes:
        path: Its class.
        settings: Arguments that are always given.
        adam: Whether it reads betas and epsilon.
        eps: Whether it reads the epsilon.
    """

    path: str
    settings: tuple[tuple[str, bool], ...] = ()
    betas: bool = True
    eps: bool = True

    def __str__(self) -> str:
        name = self.path.removeprefix("torch.optim.")
        return f"{name} with fused: true" if dict(self.settings).get("fused") else name


_BNB = "bitsandbytes.optim"

OPTIMIZERS = {
    "adamw_torch": Optimizer("torch.optim.AdamW"),
    "adamw_torch_fused": Optimizer("torch.optim.AdamW", (("fused", True),)),
    "adamw_hf": Optimizer("torch.optim.AdamW"),
    "adafactor": Optimizer(
        "transformers.optimization.Adafactor",
        (("scale_parameter", False), ("relative_step", False)),
        betas=False,
        eps=False,
    ),
    "sgd": Optimizer("torch.optim.SGD", betas=False, eps=False),
    "adagrad": Optimizer("torch.optim.Adagrad", betas=False, eps=False),
    "rmsprop": Optimizer("torch.optim.RMSprop", betas=False, eps=False),
    "adamw_bnb_8bit": Optimizer(f"{_BNB}.AdamW8bit"),
    "adamw_8bit": Optimizer(f"{_BNB}.AdamW8bit"),
    "paged_adamw_32bit": Optimizer(f"{_BNB}.PagedAdamW32bit"),
    "paged_adamw_8bit": Optimizer(f"{_BNB}.PagedAdamW8bit"),
    "lion_32bit": Optimizer(f"{_BNB}.Lion32bit", eps=False),
    "lion_8bit": Optimizer(f"{_BNB}.Lion8bit", eps=False),
    "paged_lion_32bit": Optimizer(f"{_BNB}.PagedLion32bit", eps=False),
    "paged_lion_8bit": Optimizer(f"{_BNB}.PagedLion8bit", eps=False),
    "rmsprop_bnb": Optimizer(f"{_BNB}.RMSprop32bit", betas=False, eps=False),
    "rmsprop_bnb_8bit": Optimizer(f"{_BNB}.RMSprop8bit", betas=False, eps=False),
    "rmsprop_bnb_32bit": Optimizer(f"{_BNB}.RMSprop32bit", betas=False, eps=False),
}
"""Optimizers of `optim` that are the same here; another one is given by the path of its class."""

BY_STEP = (
    *("linear", "cosine", "constant", "cosine_with_restarts", "polynomial", "constant_with_warmup", "inverse_sqrt"),
    *("cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay"),
)
SCHEDULE_NAMES = (*BY_STEP, "reduce_lr_on_plateau", "greedy")
"""Values of `lr_scheduler_type`; the last two follow a metric."""

_PLAIN = {"linear": "Linear", "cosine": "Cosine", "constant": "Constant"}
_BY_METRIC = "its rate follows a metric: take a schedule of the step, or a callback of your own"
_OTHER = "has no equal: leave optim out, and give model.optimizer the class_path of a torch optimizer"
_EMBEDDINGS = "there embeddings keep states of 32 bits beside it; here all weights are alike"


def optimizer(draft: Draft) -> None:
    """Write `model.optimizer`, with rate, decay, betas and epsilon as far as the class reads them."""
    given = draft.given
    found = OPTIMIZERS.get(given["optim"])
    if found is None:
        draft.refuse("optim", _OTHER)
        return
    draft.put("model.optimizer", made(found.path, given.because("optim"), **_arguments(draft, found)))
    read = {"adam_beta1": found.betas, "adam_beta2": found.betas, "adam_epsilon": found.eps, "optim_args": False}
    for name in (name for name, reads in read.items() if given.asks(name) and not reads):
        draft.nothing_there(name, f"the optimizer {given['optim']} does not read it")
    if found.path.startswith(_BNB) and "8" in found.path:
        draft.differs("optim", _EMBEDDINGS)


def _arguments(draft: Draft, found: Optimizer) -> dict[str, Tree]:
    given = draft.given
    arguments: dict[str, Tree] = {"lr": given.of("learning_rate"), "weight_decay": given.of("weight_decay")}
    if found.betas:
        betas = [given["adam_beta1"], given["adam_beta2"]]
        arguments["betas"] = From(betas, given.because("adam_beta1", "adam_beta2"))
    if found.eps:
        arguments["eps"] = given.of("adam_epsilon")
    for name, value in found.settings:
        if name != "fused" or not given["fp16"]:  # Lightning clips no gradients of a fused one in float16
            arguments[name] = From(value, given.because("optim"))
    return arguments


def schedule(draft: Draft, warmup: From | None = None) -> None:
    """Write `model.schedule`: with a warm-up the very one of transformers, whose first step has the rate 0.

    Args:
        draft: The config.
        warmup: Steps (int), or a share of the run (float below 1); of `warmup_steps` by default, which is either.
    """
    given = draft.given
    name, settings = given["lr_scheduler_type"], given["lr_scheduler_kwargs"]
    if name not in BY_STEP:
        draft.refuse("lr_scheduler_type", _BY_METRIC)
        return
    warmup = given.of("warmup_steps", steps_or_share) if warmup is None else warmup
    if name == "constant":
        if warmup.value:
            draft.nothing_there(warmup.comment, "the schedule constant has no warm-up; constant_with_warmup has")
        draft.put("model.schedule", made("Constant", given.because("lr_scheduler_type")))
    elif name in _PLAIN and not warmup.value and not settings:
        draft.put("model.schedule", made(_PLAIN[name], given.because("lr_scheduler_type"), warmup=warmup))
    else:
        arguments = {"name": given.of("lr_scheduler_type"), "warmup": warmup}
        if settings:
            arguments["settings"] = given.of("lr_scheduler_kwargs")
        draft.put("model.schedule", made("TransformersSchedule", "step by step as there", **arguments))


def steps_or_share(value: float) -> int | float:
    """Return a warm-up as transformers reads it: a number of steps from 1 on, below it a share of the run."""
    return int(value) if value >= 1 or not value else float(value)
