"""Pictures, tables and pages of a run.

Names are loaded when they are first asked for: the record of a run and its page need neither torch nor Lightning.
"""

from typing import TYPE_CHECKING

import lazy_loader  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from dpo_lightning.report.curves import plot_curves as plot_curves
    from dpo_lightning.report.logger import PlotLogger as PlotLogger
    from dpo_lightning.report.page.whole import write_report as write_report
    from dpo_lightning.report.samples import Completions as Completions
    from dpo_lightning.report.samples import SampledPrompt as SampledPrompt
    from dpo_lightning.report.samples import print_samples as print_samples
    from dpo_lightning.report.samples import write_samples as write_samples

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "curves": ["plot_curves"],
        "logger": ["PlotLogger"],
        "page.whole": ["write_report"],
        "samples": ["Completions", "SampledPrompt", "print_samples", "write_samples"],
    },
)
