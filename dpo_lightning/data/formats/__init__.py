"""Rows as they stand in files, read into examples."""

from dpo_lightning.data.formats.base import Format
from dpo_lightning.data.formats.example import Conversation, Example, Message
from dpo_lightning.data.formats.row import RowFormat
from dpo_lightning.data.formats.unpaired import UnpairedFormat

__all__ = ["Conversation", "Example", "Format", "Message", "RowFormat", "UnpairedFormat"]
