"""Files, hub, logs, ranks and torch modes: helpers that know nothing of preferences."""
