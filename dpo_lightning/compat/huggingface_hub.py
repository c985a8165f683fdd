"""The hub's client, whose switch for offline work is read when it is imported."""

from __future__ import annotations

import os
import sys


def work_offline() -> None:
    """Have this process, and those that it starts, use what was downloaded before.

    Writes `HF_HUB_OFFLINE` in the environment, which is public and read at import, and therefore also the constants
    that were made of it: `huggingface_hub.constants.HF_HUB_OFFLINE` and `datasets.config.HF_HUB_OFFLINE`. Where these
    change, a run without a network waits for six retries a file.
    """
    from huggingface_hub import constants

    os.environ["HF_HUB_OFFLINE"] = "1"
    constants.HF_HUB_OFFLINE = True
    if "datasets" in sys.modules:
        sys.modules["datasets"].config.HF_HUB_OFFLINE = True
