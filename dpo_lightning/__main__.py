"""`python -m dpo_lightning`: the same as `dpo-lightning`."""

from dpo_lightning.cli.door import main

if __name__ == "__main__":
    main()
