"""torchmetrics' state beside the sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torchmetrics import Metric


def set_update_count(metric: Metric, count: int) -> None:
    """Make a metric one that was updated so many times.

    Touches `Metric._update_count`, of which `update_count` is the public getter. Where it changes, a resumed run warns
    that its metrics are computed before they are updated.
    """
    metric._update_count = count


class Float32Metric(Metric):
    """A metric that stays float32 when its module is cast: in bfloat16 a count would stop at 256.

    Touches `Metric._apply`, torch's only door for `.to()`: the public `set_dtype` is not asked when a module is cast.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ()) -> Float32Metric:
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)  # type: ignore[return-value]
