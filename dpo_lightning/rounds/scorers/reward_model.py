"""Scores by a reward model of the hub: a sequence classifier whose logit is the reward."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import nn

from dpo_lightning.data.tokenize.loading import load_tokenizer
from dpo_lightning.data.tokenize.prefill import joined
from dpo_lightning.errors import InputError
from dpo_lightning.rounds.candidates import Candidates
from dpo_lightning.rounds.prompts import Prompt
from dpo_lightning.rounds.scorers.base import NoScoreError, Scorer
from dpo_lightning.rounds.scorers.content import made_of_model
from dpo_lightning.utils.hub import check_source
from dpo_lightning.utils.settings import at_least, check_rules
from dpo_lightning.utils.tensors import device_of
from dpo_lightning.utils.text import one_line

_MOST_TOKENS = 16384  # of a batch, padding included
_MOST_ROWS = 16
_NO_LIMIT = 10**6  # a tokenizer without a limit says 10^30
_PROBE = ([5, 6, 7, 8, 9, 10, 11], [12, 13])
_CUT = "texts_cut"


class _Text(NamedTuple):
    """A prompt with a completion as tokens, and where it stands."""

    ids: dict[str, list[int]]
    row: int
    completion: int


class RewardModel(Scorer):
    """Scores by the logit of an `AutoModelForSequenceClassification`, as float32.

    Texts of similar length are padded on the right to a batch where a probe of the model finds the same logits as one
    by one, which is done elsewhere. Prompt and answer are written by the chat template.

    Args:
        name: Hub name or directory.
        settings: The options that it reads: `label`, `max_length`, `plain`, `device`, `dtype`.
        place: Text that names the option, in an error.

    Raises:
        InputError: for a model that cannot be loaded or gives several logits of which none is named.
    """

    at_once: ClassVar[int] = 8

    def __init__(self, name: str, settings: Namespace, place: str) -> None:
        self._name, self._settings, self._place = name, settings, place
        self._config = _config_of(name, place)
        self._tokenizer = load_tokenizer(name, key=place)
        self._label = _label_of(self._config, settings.label, place)
        if not (settings.plain or self._tokenizer.chat_template):
            raise InputError(
                f"{place}: its tokenizer has no chat template: --plain joins prompt and answer as they are"
            )
        self._limit = self._limit_of()
        self._cut: list[int] = []

    @property
    def made(self) -> Mapping[str, Any]:
        """The model, and what decides on its texts and its numbers."""
        given = {name: getattr(self._settings, name) for name in ("label", "max_length", "plain", "dtype")}
        return {**made_of_model("reward_model", self._name), **given}

    def score(self, rows: Sequence[Candidates]) -> list[list[float]]:
        """Return the logit of each completion.

        Raises:
            NoScoreError: for messages that the chat template cannot write, and texts longer than the model reads.
        """
        self._cut = [0] * len(rows)
        texts = [
            self._tokens(row, completion, number, place)
            for number, row in enumerate(rows)
            for place, completion in enumerate(row.completions)
        ]
        found = [[0.0] * len(row.completions) for row in rows]
        with torch.no_grad():
            for batch in self._batches(texts):
                for text, value in zip(batch, self._logits(batch), strict=True):
                    found[text.row][text.completion] = value
        return found

    def columns(self) -> Sequence[Mapping[str, Any]]:
        """Return how many texts of each row were cut, where `max_length` allows it."""
        return [{_CUT: count} for count in self._cut] if self._settings.max_length else ()

    def lines(self, rows: Any) -> list[str]:
        """Return how many texts were cut."""
        if not self._settings.max_length:
            return []
        return [f"{sum(row[_CUT] for row in rows)} texts were cut at {self._settings.max_length} tokens"]

    def _tokens(self, given: Candidates, completion: str, row: int, place: int) -> _Text:
        try:
            found = (
                self._plain(given.prompt, completion) if self._settings.plain else self._templated(given, completion)
            )
        except Exception as error:  # a template's own, and what a tokenizer says of messages
            raise NoScoreError(f"it cannot be written: {one_line(error, 200)}", row, place) from error
        ids = {name: list(found[name]) for name in found}
        length = len(ids["input_ids"])
        if length > self._limit:
            if not self._settings.max_length:
                said = f"{length} tokens, and the model reads {self._limit}: --max_length N cuts, or leave it out"
                raise NoScoreError(said, row, place)
            self._cut[row] += 1
            ids = {name: values[: self._limit] for name, values in ids.items()}
        return _Text(ids, row, place)

    def _templated(self, row: Candidates, completion: str) -> Mapping[str, list[int]]:
        messages = [{"role": "user", "content": row.prompt}] if isinstance(row.prompt, str) else row.prompt
        whole = joined(messages, [{"role": "assistant", "content": completion}])
        tools = row.beside.get("tools") or None
        ids = self._tokenizer.apply_chat_template(whole, tools=tools, return_dict=False)
        return {"input_ids": cast(list[int], ids)}

    def _plain(self, prompt: Prompt, completion: str) -> Mapping[str, list[int]]:
        if not isinstance(prompt, str):
            raise InputError("messages are no plain text: leave --plain out, or give texts")
        is_pair = self._tokenizer.cls_token_id is not None and self._tokenizer.sep_token_id is not None
        given = (prompt, completion) if is_pair else (prompt + completion,)  # an encoder reads two segments
        found = self._tokenizer(*given, verbose=False)
        return {name: found[name] for name in ("input_ids", "token_type_ids") if name in found}

    def _limit_of(self) -> int:
        own = getattr(self._config.get_text_config(), "max_position_embeddings", None) or _NO_LIMIT
        most = min(own, self._tokenizer.model_max_length or _NO_LIMIT)
        asked = self._settings.max_length
        if asked is not None and asked > most:
            raise InputError(f"{self._place} --max_length {asked}: the model reads {most} tokens: give no more")
        return asked or most

    def _batches(self, texts: Sequence[_Text]) -> Iterator[list[_Text]]:
        """Yield texts of similar length together; one by one where padding would change a logit."""
        batch: list[_Text] = []
        most = _MOST_ROWS if self._pads else 1
        for text in sorted(texts, key=lambda each: len(each.ids["input_ids"])):
            if batch and (len(batch) == most or len(text.ids["input_ids"]) * (len(batch) + 1) > _MOST_TOKENS):
                yield batch
                batch = []
            batch.append(text)
        if batch:
            yield batch

    def _logits(self, batch: Sequence[_Text]) -> list[float]:
        width = max(len(each.ids["input_ids"]) for each in batch)
        inputs = {name: [_padded(each.ids[name], width, self._fill(name)) for each in batch] for name in batch[0].ids}
        inputs["attention_mask"] = [_padded([1] * len(each.ids["input_ids"]), width, 0) for each in batch]
        on_device = {name: torch.tensor(values, device=device_of(self._model)) for name, values in inputs.items()}
        found: list[float] = self._model(**on_device).logits[:, self._label].float().tolist()
        return found

    def _fill(self, name: str) -> int:
        return (self._pad or 0) if name == "input_ids" else 0

    @property
    def _pad(self) -> int | None:
        return cast(int | None, self._config.get_text_config().pad_token_id)

    @cached_property
    def _pads(self) -> bool:
        """True where padded rows have the logits that they have alone, by a fixed probe: it is the same each time."""
        if self._pad is None:
            return False
        probe = [[each + (each == self._pad) for each in ids] for ids in _PROBE]
        texts = [_Text({"input_ids": ids}, 0, 0) for ids in probe]
        together, apart = self._logits(texts), [self._logits([each])[0] for each in texts]
        tolerance = 1e-3 if self._model.dtype == torch.float32 else 5e-2
        return all(abs(one - two) <= tolerance * (1 + abs(two)) for one, two in zip(together, apart, strict=True))

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModelForSequenceClassification

        dtype = getattr(torch, self._settings.dtype) if self._settings.dtype else "auto"
        try:
            model, found = AutoModelForSequenceClassification.from_pretrained(
                self._name, dtype=dtype, output_loading_info=True, trust_remote_code=False
            )
        except Exception as error:  # broken weights, and what transformers says of them
            raise InputError(f"{self._place}: {one_line(error, 300)}") from error
        if missing := sorted(found["missing_keys"]):
            raise InputError(
                f"{self._place}: {len(missing)} weights are not in it and would be random ({missing[0]}): give a "
                "reward model, and not a language model"
            )
        device = self._settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            torch.ones(1, device=device).item()
            return cast(nn.Module, model).to(device).eval()
        except RuntimeError as error:
            raise InputError(f"{self._place} --device {device}: {one_line(error, 120)}") from None


def scorer(options: Namespace, command: str) -> Scorer:
    """Load the reward model that the options name.

    Raises:
        InputError: for one that cannot be loaded, and options that do not fit it.
    """
    check_rules(f"{command} --", options, max_length=at_least(1))
    return RewardModel(options.reward_model, options, f"{command} --reward_model {options.reward_model}")


def _padded(values: list[int], width: int, fill: int) -> list[int]:
    return values + [fill] * (width - len(values))


def _config_of(name: str, place: str) -> Any:
    from transformers import AutoConfig

    check_source(place, name)
    if (Path(name) / "adapter_config.json").is_file():
        raise InputError(f"{place}: this is an adapter: merge it into its reward model, and give that")
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # no such model, or one that brings code
        raise InputError(f"{place}: {one_line(error, 300)}") from error


def _label_of(config: Any, label: str | None, place: str) -> int:
    """Return the number of the logit that is the score."""
    names = dict(config.id2label)
    if label is None:
        if config.num_labels != 1:
            said = ", ".join(f"{number} {name}" for number, name in sorted(names.items())[:8])
            raise InputError(
                f"{place}: it gives {config.num_labels} logits: say which is the score as --label ({said})"
            )
        return 0
    found = [number for number, name in names.items() if label in (str(number), name)]
    if len(found) != 1:
        said = ", ".join(f"{number} {name}" for number, name in sorted(names.items())[:8])
        raise InputError(f"{place} --label {label}: it is none of {said}")
    return int(found[0])
