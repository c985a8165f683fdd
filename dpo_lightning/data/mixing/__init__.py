"""Several sources of training rows: their shares of an epoch, and the order of its rows."""

from dpo_lightning.data.mixing.order import ByLength, ByMargin, Order
from dpo_lightning.data.mixing.source import Source

__all__ = ["ByLength", "ByMargin", "Order", "Source"]
