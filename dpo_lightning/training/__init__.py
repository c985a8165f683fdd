"""What a training step does beside its loss: metrics, running means, logging, parameters, schedules."""
