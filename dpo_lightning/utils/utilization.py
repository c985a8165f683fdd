"""Share of a GPU's peak that training reaches."""

USUAL_UTILIZATION = 0.4
"""Share that an optimizer step usually reaches, of the peak of dense matrix products."""
