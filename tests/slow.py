"""Tests that `make quick` leaves out: everything whose id begins like this, and why it takes its time."""

from __future__ import annotations

SLOW = {
    "tests/attention/test_architectures": "every architecture in float64, six times over",
    "tests/benchmarks/frontier/test_command": "trains in processes of its own",
    "tests/benchmarks/frontier/test_picture": "finds a place for every label",
    "tests/benchmarks/test_compare": "starts processes",
    "tests/benchmarks/test_memory_check": "trains under a counter",
    "tests/benchmarks/test_profiles": "tokenises real pairs",
    "tests/benchmarks/test_sides": "trains with TRL beside ours",
    "tests/callbacks/test_checkpoint": "whole fits, some of them killed",
    "tests/callbacks/test_exact_resume": "runs that are stopped and go on",
    "tests/callbacks/test_graceful_stop": "whole fits that are stopped",
    "tests/callbacks/test_moving_reference": "whole fits of every kind",
    "tests/callbacks/test_update_guard": "whole fits, and two processes",
    "tests/checkpoints/test_io": "processes that are killed",
    "tests/checkpoints/test_standalone_loading": "whole fits",
    "tests/cli/commands/test_export": "writes and reads models",
    "tests/cli/commands/test_plan": "builds the models of many configs",
    "tests/cli/test_main": "whole commands",
    "tests/data/test_datamodule": "whole fits that are stopped and go on",
    "tests/data/test_fuzz": "hundreds of random rows a test",
    "tests/data/test_loader_faults": "processes that die",
    "tests/data/test_unpaired": "whole fits",
    "tests/lab/test_datamodule": "fits starting policies",
    "tests/logprobs/test_sharing": "two processes",
    "tests/losses/test_modified_runs": "whole fits",
    "tests/parity/": "whole fits with TRL beside ours",
    "tests/policy/test_sharding": "two processes",
    "tests/real/": "real models and data",
    "tests/reference/cache/": "two processes, and processes that are killed",
    "tests/reference/test_precomputed": "whole fits against a cache",
    "tests/report/test_extra.py::test_no_module_of_the_package_imports_it": "a process of its own",
    "tests/test_configs": "builds every shipped run",
    "tests/test_ddp": "two processes",
    "tests/test_exact_mean": "whole fits",
    "tests/test_examples": "whole fits",
    "tests/test_launchers": "starts the command as launchers do",
    "tests/test_reliability": "parses the tests that the table names, row by row",
    "tests/test_resume": "runs that are stopped and go on",
    "tests/test_unpaired": "two processes",
    "tests/tools/docs/test_scaling": "computes every plan of the page",
    "tests/utils/test_hub": "processes without a network",
}

FIRST = ("tests/policy/test_sharding.py", "tests/logprobs/test_sharing.py")
"""Tests whose fixture runs all cases on two processes: they come first, one file to a worker."""
