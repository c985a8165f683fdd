"""An example -> token ids, cut to the lengths that a run allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dpo_lightning.batch import TokenizedExample
from dpo_lightning.data.formats import Example
from dpo_lightning.data.tokenize.encoding import TextEncoder
from dpo_lightning.data.tokenize.outcomes import Encoded, outcome_of
from dpo_lightning.data.tokenize.rendering import RenderedExample, Renderer
from dpo_lightning.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class ExampleTokenizer:
    """Tokenises examples so that all completions continue the very same prompt tokens.

    The prompt is tokenised alone. A completion is what the joint text adds to it; where the joint text would merge
    across the boundary, the completion is tokenised apart. Text gets what the tokenizer itself puts in front (BOS), and
    one EOS; a conversation gets what its chat template writes, and an EOS if the template ends without a special token.
    Control tokens that a text spells are the tokenizer's own unless `quote` has marked them.

    Args:
        tokenizer: A Hugging Face tokenizer with an EOS token.
        max_length: Most tokens of prompt and completion together. A completion keeps its start.
        max_prompt_length: Most tokens of the prompt, which keeps its BOS and its end.
        template_arguments: Further arguments of the chat template, such as `enable_thinking`.

    Raises:
        InputError: when the tokenizer has no EOS token, or a length is not positive.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    max_prompt_length: int | None = None
    template_arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        TextEncoder(self.tokenizer)  # refuses one without an EOS token
        for name in ("max_length", "max_prompt_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"data.{name} must be at least 1, got {value}")

    def __call__(self, example: Example, row: int = 0) -> Encoded:
        """Tokenise one example, truncate, and say what became of it."""
        return self.encode([self.render(example, row)])[0]

    def quote(self, text: str) -> str:
        """Mark the control tokens that a text of the data spells, so that they stay text; for `Format.examples`."""
        return self._encoder.quote(text)

    def render(self, example: Example, row: int) -> RenderedExample:
        """Write an example as text, see `Renderer`."""
        return self._renderer(example, row)

    def encode(self, examples: Sequence[RenderedExample]) -> list[Encoded]:
        """Tokenise examples, truncate them, and say what became of each."""
        return [
            self._fit(each, prompt, completions)
            for each, (prompt, completions) in zip(examples, self._encoder.encode(examples), strict=True)
        ]

    @cached_property
    def _encoder(self) -> TextEncoder:
        return TextEncoder(self.tokenizer)

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self.tokenizer, self.template_arguments)

    def _fit(self, rendered: RenderedExample, prompt: list[int], completions: list[list[int]]) -> Encoded:
        cut_prompt = (
            prompt if self.max_prompt_length is None else self._encoder.keep_end(prompt, self.max_prompt_length)
        )
        room = max(0, self.max_length - len(cut_prompt))
        cut = [completion[:room] for completion in completions]
        truncated = len(cut_prompt) < len(prompt) or cut != completions
        source = rendered.source
        example = TokenizedExample(rendered.row, cut_prompt, cut, label=source.label, columns=source.columns)
        return Encoded(example, outcome_of(example, empty=rendered.empty), truncated)
