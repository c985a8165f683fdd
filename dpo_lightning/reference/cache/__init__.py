"""The reference's log-probs on disk: scored once, found by content, shared by runs."""
