"""The commands, as one family."""

from __future__ import annotations

from collections.abc import Mapping

FAMILY: Mapping[str, Mapping[str, str]] = {
    "before a run": {
        "init": "write a starting config for a model, a file and a method",
        "import": "write a config from one of another tool, and say what differs",
        "inspect": "read the data as a fit would, and say what is wrong with it",
        "plan": "tell the memory and the time of a run",
        "data": "write the data as a fit would read it, cleaned",
    },
    "a run": {
        "fit": "train a policy, or go on with --ckpt_path last",
        "sweep": "fit for every combination of values, and compare the runs",
        "validate": "measure a policy on held-out pairs",
        "test": "measure it on the test split",
        "predict": "write the rewards of each completion",
    },
    "after a run": {
        "generate": "print or write what a policy, or a server's model, says to prompts",
        "report": "write the page of a run, or one that compares several",
        "export": "turn a checkpoint into a Hugging Face model",
        "cache": "list, check and remove kept log-probs of references",
    },
    "rounds": {
        "score": "score completions: a function, a reward model, a run or a judge",
        "pair": "make preference pairs of completions with scores",
        "rounds": "run rounds of generate, score, pair and fit",
        "pivots": "find the tokens that decide on an answer, as pairs of tokens",
    },
    "as a reward model": {
        "rank": "order completions of a prompt by scores, or take the best of n",
        "evaluate": "measure a scorer on a preference benchmark, by subset",
    },
    "this machine": {
        "doctor": "say what is installed, what the device can do, what is missing",
        "completion": "print a script that completes commands and keys in a shell",
    },
}
"""Commands by what they are for, with what each does."""

KEYS_OF: Mapping[str, tuple[str, ...]] = {
    "inspect": ("data",),
    "plan": ("", "model", "data", "trainer"),
    "data": ("data",),
    "sweep": ("", "model", "data", "trainer"),
}
"""Sections of the keys that commands beside the Trainer's take; empty is what concerns the process."""

NAMES = tuple(name for commands in FAMILY.values() for name in commands)
"""Names of all commands."""
