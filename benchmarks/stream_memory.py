"""Peak memory of a stream of 10 thousand, 100 thousand and 1 million rows: `python -m benchmarks.stream_memory`.

Each size runs in a process of its own, over a generated JSONL file, through shuffle, tokenisation and batches.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.environment import describe
from benchmarks.recording import peak_mib

SIZES = (10_000, 100_000, 1_000_000)
_EVERY = 100_000  # examples between two looks at the peak


def write(path: Path, count: int) -> None:
    """Write pairs of a few words."""
    with path.open("w", encoding="utf-8") as file:
        for row in range(count):
            file.write(json.dumps({"prompt": f"q {row}:", "chosen": " yes", "rejected": " no"}) + "\n")


def read(path: Path) -> dict[str, Any]:
    """Read a whole epoch, and return its examples, the peak of this process in MiB, and what it was on the way."""
    from dpo_lightning import PreferenceDataModule

    data = PreferenceDataModule(str(path), _letters(), streaming=True, batch_pairs=64, max_length=64)
    data.setup()
    examples, on_the_way = 0, list[float]()
    for batch in data.train_dataloader():
        examples += batch.examples
        if examples // _EVERY > len(on_the_way):
            on_the_way.append(round(peak_mib(), 1))
    return {"examples": examples, "peak_mib": round(peak_mib(), 1), "peak_mib_each_100k": on_the_way}


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
    parser.add_argument("--output", type=Path, help="write the figures of all sizes, and where they were taken")
    given = parser.parse_args()
    if given.read is not None:
        print(json.dumps(read(given.read)))
        return
    found = []
    for size in given.sizes:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "rows.jsonl"
            write(path, size)
            own = [sys.executable, "-m", "benchmarks.stream_memory", "--read", str(path)]
            line = subprocess.run(own, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            found.append({"rows": size, **json.loads(line)})
            print(json.dumps(found[-1]), flush=True)
    if given.output is not None:
        given.output.write_text(json.dumps({**describe(), "sizes": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
