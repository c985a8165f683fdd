"""The preference lab: a small world with a known true reward."""
