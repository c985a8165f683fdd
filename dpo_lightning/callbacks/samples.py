"""Samples of the policy while it is trained, beside those of its reference."""

from __future__ import annotations

from typing import Any, Optional

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from dpo_lightning.callbacks.measures import not_counted
from dpo_lightning.callbacks.sample_places import SamplePlaces
from dpo_lightning.callbacks.shared_sampling import SamplingError, printer_of, sample_over_ranks
from dpo_lightning.checkpoints.random_state import random_state, set_random_state
from dpo_lightning.data import PreferenceSource
from dpo_lightning.data.last_turn import LastTurn
from dpo_lightning.errors import InputError
from dpo_lightning.policy.decoding import completion_texts
from dpo_lightning.policy.sampling import Sampling
from dpo_lightning.policy.sharding import is_sharded
from dpo_lightning.reference import ReferenceMover
from dpo_lightning.report.samples import RewardFunction, SampledPrompt, print_samples, rewarded, summary
from dpo_lightning.run import PreferenceRun, source_of
from dpo_lightning.utils.kinds import check_arguments
from dpo_lightning.utils.settings import NOT_NEGATIVE, SEED, at_least, check_rules
from dpo_lightning.utils.text import one_line

_RULES = {
    **dict.fromkeys(("prompts", "samples_per_prompt", "max_new_tokens", "every_n_steps"), at_least(1)),
    "samples_at_once": at_least(1),
    "temperature": NOT_NEGATIVE,
    "seed": SEED,
    "shown": at_least(0),
}

Texts = list[list[str]]


class SampleTable(pl.Callback):
    """Samples from policy and reference on fixed validation prompts, before training, after it, and every n steps.

    They go to the terminal, to the loggers that take texts or tables (TensorBoard, W&B, MLflow, Comet), to
    `record/samples.jsonl` in the run's directory, and to a Markdown file. Of a reference that stays as it is, there are
    samples from the start only. The run is the same as without: random numbers, weights and modes are left as they are.

    Args:
        path: The Markdown file; null writes `samples.md` into the run's directory.
        prompts: Number of prompts: the first different ones of the validation pairs, of several sets in turns.
        samples_per_prompt: Completions of each prompt; the terminal shows one. Null takes 4, or 1 at temperature 0.
        max_new_tokens: Most tokens of a completion.
        temperature: Softmax temperature; 1 samples from the policy itself, 0 takes the likeliest token.
        seed: Seed of the samples, always the same.
        reward: Function of prompt and completion, that gives a reward; its means are reported.
        shown: Prompts that the terminal shows each time.
        every_n_steps: Optimizer steps from one table to the next; null samples at start and end only.
        samples_at_once: Completions that are sampled together, each with a cache in the device's memory.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from dpo_lightning.callbacks import SampleTable
        >>> def brevity(prompt: str, completion: str) -> float:
        ...     return -float(len(completion.split()))
        >>> table = SampleTable(prompts=8, samples_per_prompt=2, reward=brevity, every_n_steps=50)
        >>> trainer = Trainer(max_steps=100, logger=False, callbacks=[table])
        >>> table.reward("Say hello.", "Hello to you!")
        -3.0
    """

    def __init__(  # noqa: PLR0913 - the constructor is the config
        self,
        path: Optional[str] = None,
        prompts: int = 16,
        *,
        samples_per_prompt: Optional[int] = None,
        max_new_tokens: int = 64,
        temperature: float = 1.0,
        seed: int = 0,
        reward: Optional[RewardFunction] = None,
        shown: int = 5,
        every_n_steps: Optional[int] = None,
        samples_at_once: int = 32,
    ) -> None:
        check_arguments(SampleTable, locals(), "SampleTable.")
        check_rules("SampleTable.", locals(), **_RULES)
        if not (reward is None or callable(reward)):
            given = one_line(repr(reward), 80)
            raise InputError(f"SampleTable.reward is a function of prompt and completion, got {given}")
        if temperature == 0 and (samples_per_prompt or 1) > 1:
            raise InputError(
                f"SampleTable.samples_per_prompt: {samples_per_prompt} completions at temperature 0 are all the same: "
                "leave it out, or set temperature to 1"
            )
        self.path = path
        self.prompts = prompts
        self.samples_per_prompt = samples_per_prompt or (4 if temperature else 1)
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.seed = seed
        self.reward = reward
        self.shown = shown
        self.every_n_steps = every_n_steps
        self.samples_at_once = samples_at_once
        self._places = SamplePlaces(path)
        self._asked: list[list[int]] = []
        self._before: Texts = []
        self._reference: Texts | None = None
        self._settings: dict[str, Any] = {}
        self._latest: tuple[int, Texts] | None = None
        self._seen = 0

    @property
    def _sampling(self) -> Sampling:
        at_once = max(1, self.samples_at_once // self.samples_per_prompt)
        return Sampling(self.samples_per_prompt, self.max_new_tokens, self.temperature, self.seed, at_once)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the prompts; refuse what cannot be sampled before anything is trained.

        Raises:
            InputError: without a DataModule of this package, without validation prompts, and for a policy that does
                not generate.
        """
        if not callable(getattr(getattr(pl_module, "policy", None), "generate", None)):
            raise InputError(
                f"SampleTable samples from the `policy` of the run's module, and {type(pl_module).__name__} has none "
                "with a method `generate`: leave the callback out"
            )
        self._latest, now = None, self._prompt_ids(trainer)
        settings = {**self._sampling._asdict(), "prompts": now}
        if trainer.ckpt_path is None or self._settings != settings or len(self._before) != len(now):
            self._before, self._reference = [], None
        self._asked, self._settings = now, settings
        self._places.keep_earlier_run(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sample before the first step; a resumed run has the samples of its beginning in the checkpoint.

        Where prompts or settings are others by then, there is no sample of the beginning, and those of the resume stand
        for it.
        """
        self._seen = trainer.global_step
        self._places.begin(trainer)
        if not self._before:
            self._sample(trainer, pl_module, shown=0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Sample where it is due."""
        moved, self._seen = trainer.global_step != self._seen, trainer.global_step
        if moved and self.every_n_steps is not None and self._seen % self.every_n_steps == 0:
            self._sample(trainer, pl_module, shown=self.shown)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sample again, unless that was just done, and say where the samples are."""
        if self._latest is None or self._latest[0] != trainer.global_step:
            self._sample(trainer, pl_module, shown=self.shown)
        if trainer.is_global_zero and self._before:
            self._places.tell()

    def state_dict(self) -> dict[str, Any]:
        """Return the samples from before training, those of a fixed reference, and what they are of."""
        state = {"before": self._before, "reference": self._reference, "settings": self._settings}
        return {**state, "file": self._places.record}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them; of an earlier version's checkpoint they are sampled anew."""
        self._before, self._reference = state_dict["before"], state_dict.get("reference")
        self._settings = state_dict.get("settings", {})
        self._places.earlier = state_dict.get("file")

    def _sample(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *, shown: int) -> None:
        """Sample, and report on rank 0; a model that fails costs the samples alone."""
        state = random_state()
        try:
            with not_counted(trainer):
                reference = self._of_reference(trainer, pl_module)
                policy = self._of(trainer, pl_module.policy)
                self._before = self._before or policy
                self._latest = trainer.global_step, policy
                if trainer.is_global_zero:
                    self._report(trainer, policy, reference, shown)
        except (torch.OutOfMemoryError, MemoryError) as error:
            if is_sharded(pl_module.policy):  # type: ignore[arg-type]
                raise  # the other ranks wait in the middle of a forward
            rank_zero_warn(
                f"SampleTable: out of memory at step {trainer.global_step}: no samples, the run goes on; lower "
                f"samples_at_once or max_new_tokens ({one_line(error, 120)})"
            )
        except SamplingError as error:
            rank_zero_warn(f"SampleTable: no samples at step {trainer.global_step}, the run goes on: {error}")
        finally:
            set_random_state(state)

    def _of_reference(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Texts | None:
        """Return the reference's samples, or those from before where it has not moved; None where it has none."""
        if self._reference is not None or not isinstance(pl_module, PreferenceRun) or not pl_module.reads_reference:
            return self._reference
        with pl_module.reference.generating() as model:
            if model is None:
                if not self._before:
                    rank_zero_info("samples: the reference is no model here, so there are none of it")
                return None
            texts = self._of(trainer, model, "sampling, reference")
        if not any(isinstance(each, ReferenceMover) for each in trainer.callbacks):  # type: ignore[attr-defined]
            self._reference = texts
        return texts

    def _of(self, trainer: pl.Trainer, model: Any, what: str = "sampling") -> Texts:
        tokenizer = self._tokenizer(trainer)
        tokens = sample_over_ranks(trainer, model, self._asked, tokenizer.eos_token_id, self._sampling, what)
        return [completion_texts(tokenizer, each) for each in tokens]

    def _report(self, trainer: pl.Trainer, policy: Texts, reference: Texts | None, shown: int) -> None:
        tokenizer, step = self._tokenizer(trainer), trainer.global_step
        last_turn, rows = LastTurn(tokenizer), []
        for number, ids in enumerate(self._asked):
            prompt = tokenizer.decode(ids, skip_special_tokens=True)
            said, before = (rewarded(prompt, each[number], self.reward) for each in (policy, self._before))
            beside = None if reference is None else rewarded(prompt, reference[number], self.reward)
            rows.append(SampledPrompt(prompt, said, before, beside, last_turn(ids)))
        if shown:
            title = f"Samples after step {step}: {min(shown, len(rows))} of {len(rows)} prompts"
            print_samples(rows[:shown], title, printer_of(trainer))
        if shown and (means := summary(rows)) is not None:
            rank_zero_info(means)
        self._places.write(trainer, rows, step)

    def _prompt_ids(self, trainer: pl.Trainer) -> list[list[int]]:
        sets = [iter(each.rows["prompt_ids"]) for each in self._data(trainer).examples_used("validate")]
        found: dict[tuple[int, ...], None] = {}
        while sets and len(found) < self.prompts:
            rows = sets.pop(0)
            if (ids := next((each for each in rows if tuple(each) not in found), None)) is not None:
                found[tuple(ids)] = None
                sets.append(rows)
        if not found:
            raise InputError(
                "SampleTable takes its prompts from validation rows, and the run has none: set data.val_split"
            )
        return [list(ids) for ids in found]

    def _tokenizer(self, trainer: pl.Trainer) -> Any:
        return self._data(trainer).tokenizer

    def _data(self, trainer: pl.Trainer) -> PreferenceSource:
        data = source_of(trainer)
        if data is None:
            raise InputError(
                "SampleTable takes its prompts from a PreferenceDataModule, which has a tokenizer too: pass one to "
                "fit, or leave the callback out"
            )
        return data
