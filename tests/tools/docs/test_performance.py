"""docs/performance.md has the tables of the measurements as they are now, and of a GPU when there are some."""

from __future__ import annotations

import json

from benchmarks.gpu_rows import SIDES
from tests.benchmarks.gpu_stand_in import figures
from tools.docs import performance


def test_the_page_is_up_to_date():
    assert performance.DOCUMENT.read_text(encoding="utf-8") == performance.read(), (
        "run python -m tools.docs.performance"
    )


def test_rows_of_a_gpu_become_tables():
    case = {"kind": "step", "model": "1b", "mode": "full", "profile": "hh", "pairs": 64}
    rows = {
        f"1b/full/hh/{side}": {**case, "side": side, **figures({**case, "side": side}, 1, 2)}
        for side in ("ours", "trl-best")
    }
    rows["ceilings"] = {"kind": "ceilings", **figures({"kind": "ceilings"}, 0, 0)}
    rows["1b/full/hh/trl"] = {**case, "side": "trl", "error": "OutOfMemoryError: 2 GiB"}
    work = {"tokens": 10**6, "scored": 5 * 10**5, "visible": 10**8}
    machine = {"cpu": "Xeon", "gpu": "H200"}
    about = {"versions": {"torch": "2.11.0", "trl": None}, "machine": machine, "commit": "0123456789abcdef"}
    results = {"about": about, "date": "2027-01-02", "rows": rows, "not_run": ["8b/lora/hh/ours"]}
    results["left_out"] = {"ours-fa3": "flash_attn_interface is not installed"}
    results["examples"] = {"1b/hh": {"pairs": 128, "work": work}}
    cpu = json.loads(performance.CPU.read_text())

    page = performance.document(performance.DOCUMENT.read_text(), cpu, results)

    assert "Measured on H200 on 2027-01-02, commit 0123456789ab, with torch 2.11.0." in page
    assert "| | copy, GB/s | bf16 product, TFLOP/s |\n|---|--:|--:|\n|  | 4000 | 800 |" in page.replace(
        "|  | c", "| | c"
    )
    assert "### Step of 1b/full/hh, 64 pairs" in page
    assert "| ours | 32 | 2000 |" in page
    assert "| 1b/full/hh | 1.50 (≥ 1.7) | 1.00 (≤ 0.7) | 0.75 (≥ 0.75) |" in page
    assert "| 1b/full/hh/trl | OutOfMemoryError: 2 GiB |" in page
    assert "**Rows that were not run:** `8b/lora/hh/ours`." in page
    assert "**Left out:** `ours-fa3`, since flash_attn_interface is not installed." in page
    assert "has run on a GPU" not in page
    assert performance.document(page, cpu, None) == performance.document(performance.DOCUMENT.read_text(), cpu, None)
    assert set(SIDES) > {"ours", "trl-best"}
