"""Pictures and tables of a run."""

from dpo_lightning.report.curves import plot_curves
from dpo_lightning.report.logger import PlotLogger
from dpo_lightning.report.samples import Completions, SampledPrompt, print_samples, write_samples
from dpo_lightning.utils.lines import show_lines

__all__ = ["Completions", "PlotLogger", "SampledPrompt", "plot_curves", "print_samples", "write_samples"]

show_lines()
