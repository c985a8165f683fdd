"""A compiled module is trained as it is, in a process without the suite's checks of types."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys, torch
from pathlib import Path
from tests.helpers import runs
from tests.helpers.tiny import tiny_llama

weights = []
for compiled in (False, True):
    torch.manual_seed(0)
    module = runs.module(tiny_llama(num_hidden_layers=1))
    fit = runs.trainer(max_steps=2, num_sanity_val_steps=0)
    fit.fit(torch.compile(module, backend="eager") if compiled else module, runs.data(Path(sys.argv[1])))
    weights.append(torch.cat([each.detach().flatten() for each in module.parameters()]))
torch.testing.assert_close(weights[1], weights[0], rtol=1e-4, atol=1e-6)
print(fit.global_step)
"""


def test_torch_compile(tmp_path):
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["2"], done.stderr[-2000:]
