"""Peak memory of a stream of 10 thousand, 100 thousand and 1 million rows: `python -m benchmarks.stream_memory`.

Each size runs in a process of its own, over a generated JSONL file, through shuffle, tokenisation and batches.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SIZES = (10_000, 100_000, 1_000_000)


def write(path: Path, count: int) -> None:
    """Write pairs of a few words."""
    with path.open("w", encoding="utf-8") as file:
        for row in range(count):
            file.write(json.dumps({"prompt": f"q {row}:", "chosen": " yes", "rejected": " no"}) + "\n")


def read(path: Path) -> dict[str, float]:
    """Read a whole epoch, and return its examples and the peak of this process in MiB."""
    from dpo_lightning import PreferenceDataModule

    data = PreferenceDataModule(str(path), _letters(), streaming=True, batch_pairs=64, max_length=64)
    data.setup()
    examples = sum(batch.examples for batch in data.train_dataloader())
    return {"examples": examples, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _letters() -> Any:
    """Return a tokenizer with a token for each character."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = ["<unk>", "<s>", "</s>"] + [chr(code) for code in range(32, 127)]
    backend = Tokenizer(models.WordLevel({letter: number for number, letter in enumerate(letters)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def main() -> None:
    """Print a line of JSON for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows of each file")
    parser.add_argument("--read", type=Path, help="read one file, in this process")
    given = parser.parse_args()
    if given.read is not None:
        print(json.dumps(read(given.read)))
        return
    for size in given.sizes:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "rows.jsonl"
            write(path, size)
            own = [sys.executable, "-m", "benchmarks.stream_memory", "--read", str(path)]
            line = subprocess.run(own, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            print(json.dumps({"rows": size, **json.loads(line)}), flush=True)


if __name__ == "__main__":
    main()
