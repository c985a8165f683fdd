"""A policy of a run, or a model, beside its reference: log-probs of both for each token of completions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.utilities import move_data_to_device
from torch import Tensor, nn
from torch.optim import AdamW

from dpo_lightning import Constant, TokenScorer
from dpo_lightning.batch import Collate, PreferenceBatch, TokenizedExample, collate_padded, collate_tree
from dpo_lightning.errors import InputError
from dpo_lightning.losses import DPO, AnyObjective
from dpo_lightning.policy.lora import is_adapted
from dpo_lightning.rounds.saved_policy import (
    check_source,
    is_checkpoint,
    loaded_model,
    module_with_reference,
    single_file,
)
from dpo_lightning.utils.tensors import device_of

_MOST_TOKENS = 16384  # of a batch
TokenLogps = Callable[[PreferenceBatch], Float[Tensor, " N"]]


class TokenRatios(NamedTuple):
    """Log-probs of a completion's tokens, float32 nats, each of shape `[n]`.

    Attributes:
        ids: The tokens that count.
        policy: Under the policy.
        reference: Under the reference; zeros where the objective has none.
    """

    ids: np.ndarray
    policy: np.ndarray
    reference: np.ndarray

    @property
    def ratios(self) -> np.ndarray:
        """The log-ratio of each token; their sum times beta is DPO's reward."""
        return self.policy - self.reference


class Compared:
    """A policy and its reference, which score batches by the one path of training.

    Args:
        policy: The model, asked for its device and whether the tree layout fits it.
        of_policy: Log-probs of a batch's scored tokens under the policy.
        of_reference: The same under the reference; None where the objective has none.
        objective: What says the scale of a reward.
        name: Name of the policy, by which a tokenizer is looked for.
    """

    def __init__(
        self,
        policy: nn.Module,
        of_policy: TokenLogps,
        of_reference: TokenLogps | None,
        objective: AnyObjective,
        name: str | None,
    ) -> None:
        self.policy, self.objective, self.name = policy, objective, name
        self._of_policy, self._of_reference = of_policy, of_reference
        is_tree = TokenScorer(policy).tree_problem() is None
        self._collate: Collate = collate_tree if is_tree else collate_padded

    @property
    def has_reference(self) -> bool:
        """True where the objective compares with a reference."""
        return self._of_reference is not None

    @property
    def limit(self) -> int | None:
        """Most tokens of a text, as the model's config says it."""
        config: Any = getattr(self.policy, "config", None)
        text = config.get_text_config() if hasattr(config, "get_text_config") else config
        return cast("int | None", getattr(text, "max_position_embeddings", None))

    def token_ratios(self, examples: Sequence[TokenizedExample]) -> list[list[TokenRatios]]:
        """Return the log-probs of each completion's tokens, of each example; completions share their prompt's forward.

        Args:
            examples: Prompts with one completion or more, as tokens.
        """
        found: list[list[TokenRatios]] = []
        for batch in _batches(examples):
            found += self._of_batch(batch)
        return found

    def _of_batch(self, examples: Sequence[TokenizedExample]) -> list[list[TokenRatios]]:
        batch: PreferenceBatch = move_data_to_device(self._collate(examples), device_of(self.policy))
        with torch.no_grad():
            policy = self._of_policy(batch).float()
            reference = torch.zeros_like(policy) if self._of_reference is None else self._of_reference(batch).float()
        columns = [values.cpu().numpy() for values in (batch.targets, policy, reference)]
        ends = np.cumsum(batch.lengths.cpu().numpy())[:-1]
        found: list[list[TokenRatios]] = [[] for _ in examples]
        parts = zip(*(np.split(values, ends) for values in columns), strict=True)
        for example, own in zip(batch.example_of_sequence.tolist(), parts, strict=True):
            found[example].append(TokenRatios(*own))
        return found


def _batches(examples: Sequence[TokenizedExample]) -> Iterator[list[TokenizedExample]]:
    batch: list[TokenizedExample] = []
    tokens = 0
    for each in examples:
        own = len(each.prompt_ids) + sum(map(len, each.completion_ids))
        if batch and tokens + own > _MOST_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(each)
        tokens += own
    if batch:
        yield batch


class Asked(NamedTuple):
    """The models that a user asks to compare.

    Attributes:
        run: A checkpoint, a model or an adapter.
        reference: The model that it is compared with; null for the run's own, or an adapter's base.
        beta: The factor of the log-ratio, where no checkpoint says the objective.
        device: Name of a device; null takes the GPU where there is one.
        dtype: Name of the dtype of the weights; null keeps that of the checkpoint, or of the model.
    """

    run: str
    reference: str | None = None
    beta: float | None = None
    device: str | None = None
    dtype: str | None = None


@contextmanager
def compared(asked: Asked, settings: dict[str, dict[str, Any]], command: str) -> Iterator[Compared]:
    """Yield a policy beside its reference, on the device.

    Args:
        asked: What is compared.
        settings: Those of the run's config, from `run_settings`.
        command: Name of the command, in an error.

    Raises:
        InputError: for what cannot be loaded, a model without a reference or a beta, and options that a checkpoint
            has an answer to of its own.
    """
    source = Path(asked.run)
    check_source(asked.run, command)
    if is_checkpoint(source):
        for name in ("reference", "beta"):
            if getattr(asked, name) is not None:
                raise InputError(f"{command} --{name}: the checkpoint says what its run had: leave it out")
        with single_file(source) as file:
            yield _of_checkpoint(file, settings, asked)
        return
    yield _of_models(asked, settings, command)


def _of_checkpoint(file: Path, settings: dict[str, dict[str, Any]], asked: Asked) -> Compared:
    unread: dict[str, Any] = {"optimizer": AdamW, "schedule": Constant()}
    module = module_with_reference(file, settings, **unread)
    place = {"device": _device(asked)} | ({"dtype": getattr(torch, asked.dtype)} if asked.dtype else {})
    module.to(**place).eval()
    for model in module.reference.own_models():
        model.to(**place).eval()
    reference = module.reference.token_logps if module.reads_reference else None
    return Compared(
        module.policy, lambda batch: module.models.scored(batch).logps, reference, module.objective, module.policy_name
    )


def _of_models(asked: Asked, settings: dict[str, dict[str, Any]], command: str) -> Compared:
    place = f"{command} --run {asked.run}"
    if asked.beta is None:
        raise InputError(f"{place}: a model does not say its objective: give --beta, or the run's checkpoint")
    policy = _model(asked.run, asked, settings)
    if asked.reference is None:
        if not is_adapted(policy):
            raise InputError(f"{place}: a whole model, and no reference is beside it: give --reference MODEL")
        other, switched = policy, cast(Any, policy).disable_adapter
    else:
        check_source(asked.reference, command)
        other, switched = _model(asked.reference, asked, settings), nullcontext
        _check_same_words(policy, other, f"{command} --reference {asked.reference}")
    return Compared(
        policy, _plain_scores(policy, nullcontext), _plain_scores(other, switched), DPO(beta=asked.beta), asked.run
    )


def _plain_scores(model: nn.Module, switched: Callable[[], AbstractContextManager[Any]]) -> TokenLogps:
    score = TokenScorer(model)

    def token_logps(batch: PreferenceBatch) -> Float[Tensor, " N"]:
        with switched():
            return score(batch).logps

    return token_logps


def _model(name: str, asked: Asked, settings: dict[str, dict[str, Any]]) -> nn.Module:
    dtype = getattr(torch, asked.dtype) if asked.dtype else None
    return loaded_model(name, settings, dtype).to(_device(asked)).eval()


def _device(asked: Asked) -> torch.device:
    try:
        found = torch.device(asked.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.ones(1, device=found).item()
    except (RuntimeError, AssertionError) as error:
        said = str(error).splitlines()[0][:120]
        raise InputError(f"--device {asked.device}: {said}") from None
    return found


def _check_same_words(policy: nn.Module, other: nn.Module, place: str) -> None:
    sizes = [getattr(each.config.get_text_config(), "vocab_size", None) for each in (policy, other)]  # type: ignore[union-attr,operator]
    if sizes[0] != sizes[1]:
        raise InputError(f"{place}: it has {sizes[1]} tokens and the policy {sizes[0]}: give a model of one vocabulary")
