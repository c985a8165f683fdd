"""The hub's client, whose switch for offline work is read when it is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

_TRANSFORMERS_4 = "_is_offline_mode"


def work_offline() -> None:
    """Have this process, and those that it starts, use what was downloaded before.

    Writes `HF_HUB_OFFLINE` in the environment, which is public and read at import, and therefore also the constants
    that were made of it: `huggingface_hub.constants.HF_HUB_OFFLINE`, `datasets.config.HF_HUB_OFFLINE`, and
    `transformers.utils.hub._is_offline_mode` before transformers 5. Where these change, a run without a network waits
    for six retries a file. A client before 1.0 keeps its sessions as well, which `reset_sessions` ends.
    """
    from huggingface_hub import constants, utils

    os.environ["HF_HUB_OFFLINE"] = "1"
    constants.HF_HUB_OFFLINE = True
    if "datasets" in sys.modules:
        sys.modules["datasets"].config.HF_HUB_OFFLINE = True
    transformers_hub = sys.modules.get("transformers.utils.hub")
    if hasattr(transformers_hub, _TRANSFORMERS_4):
        vars(transformers_hub)[_TRANSFORMERS_4] = True
    reset: Callable[[], None] | None = getattr(utils, "reset_sessions", None)
    if reset is not None:
        reset()
