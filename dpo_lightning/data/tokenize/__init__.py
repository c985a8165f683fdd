"""Examples as token ids: templates, boundaries, BOS and EOS, truncation."""

from dpo_lightning.data.tokenize.examples import ExampleTokenizer
from dpo_lightning.data.tokenize.outcomes import Encoded, Outcome
from dpo_lightning.data.tokenize.rendering import RenderedExample

__all__ = ["Encoded", "ExampleTokenizer", "Outcome", "RenderedExample"]
