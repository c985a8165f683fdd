"""The command `dpo-lightning`."""
