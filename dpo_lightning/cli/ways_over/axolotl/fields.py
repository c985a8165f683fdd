"""All fields of axolotl 0.18.0 that a config may have."""

from __future__ import annotations

from dpo_lightning.cli.ways_over.axolotl.of_data import OF_DATA, OF_DATASET, OF_TRL, OF_TYPE
from dpo_lightning.cli.ways_over.axolotl.of_model import OF_MODEL, OF_SPECIAL_TOKENS
from dpo_lightning.cli.ways_over.axolotl.of_run import OF_PLUGINS, OF_RUN
from dpo_lightning.cli.ways_over.fields import by_name

FIELDS = by_name(OF_DATA, OF_MODEL, OF_RUN, OF_PLUGINS)
"""Fields of the config itself, by name."""
OF_DATASET_NAMES = by_name(OF_DATASET)
"""Fields of an entry of `datasets`."""
OF_TYPE_NAMES = by_name(OF_TYPE)
"""Fields of `type` of such an entry, where it is a mapping."""
OF_TRL_NAMES = by_name(OF_TRL)
"""Fields of `trl`."""
OF_SPECIAL_TOKENS_NAMES = by_name(OF_SPECIAL_TOKENS)
"""Fields of `special_tokens`."""
