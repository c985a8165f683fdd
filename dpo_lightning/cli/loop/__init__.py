"""The loop of `dpo-lightning rounds`: its config, the commands that it calls, and what became of them."""
