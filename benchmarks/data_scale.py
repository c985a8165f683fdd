"""What a large file costs before training: the doctor, tokenising, keys, plans, the second start, and memory.

    python -m benchmarks.data_scale                      # 1,000,000 rows like HH's, one core
    python -m benchmarks.data_scale --rows 20000         # does it work here?

HH's pairs are written again and again, each with a number of its own. Each stage is a fresh process on one core. Prints
a table and writes `benchmarks/results/data_scale.json`; times are of the processor, and tokenising is told as a ratio
to what the tokenizer alone takes for the prompt and both completions, each once, in turns with ours.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.environment import describe
from benchmarks.own_process import add_arguments, run_part
from benchmarks.profiles import hh_file
from benchmarks.recording import memory_mib
from dpo_lightning.utils.files import replaced

ONE_CORE = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
BATCH = 256  # rows that the tokenizer gets at once
TOKENS = 8192  # of a batch of training
GOALS = {
    "tokenise_ratio": 1.15,
    "read_peak_mib": 1024,
    "tokenise_peak_mib": 1024,
    "content_hash_s": 3,
    "index_rows_s": 3,
    "plan_s": 5,
    "start_s": 5,
    "inspect_s": 60,
    "inspect_peak_mib": 1024,
}


def main() -> None:
    arguments = parse_arguments()
    if arguments.spec is not None:
        print(json.dumps(STAGES[json.loads(arguments.spec)["stage"]](json.loads(arguments.spec))))
        return
    results = measure(arguments)
    with replaced(arguments.output) as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    Console().print(table(results))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a large file costs before training.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--sample", type=int, default=10_000, help="rows of a turn against the tokenizer alone")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--kind", choices=("jsonl", "parquet"), default="jsonl")
    add_arguments(parser, "data_scale")
    return parser.parse_args()


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All stages, the first start before the second one."""
    with tempfile.TemporaryDirectory() as name:
        shared, path = arguments.shared.resolve(), Path(name) / f"pairs.{arguments.kind}"
        write_rows(hh_file(shared), path, arguments.rows)
        spec = {
            "data": str(path),
            "cache": str(Path(name) / "cache"),
            "tokenizer": str(shared / "tokenizers" / "gpt2"),
            "sample": min(arguments.sample, arguments.rows),
            "turns": arguments.turns,
        }
        stages = {stage: run_process({**spec, "stage": stage}) for stage in STAGES}
        size = path.stat().st_size
    return {
        **describe(),
        "rows": arguments.rows,
        "file_mib": size / 2**20,
        "figures": figures(stages),
        "stages": stages,
    }


def figures(stages: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The figures that have goals."""
    turns = stages["turns"]["turns"]
    second = stages["second"]
    return {
        "tokenise_ratio": statistics.median(turn["ours_s"] / turn["tokenizer_s"] for turn in turns),
        "read_peak_mib": stages["read"]["peak_mib"],
        "tokenise_peak_mib": stages["first"]["peak_mib"],
        "content_hash_s": second["content_hash_s"],
        "index_rows_s": second["index_rows_s"],
        "plan_s": second["plan_s"],
        "start_s": second["start_s"],
        "inspect_s": stages["inspect"]["inspect_s"],
        "inspect_peak_mib": stages["inspect"]["peak_mib"],
    }


def table(results: dict[str, Any]) -> Table:
    made = Table("figure", "measured", "goal", title=f"{results['rows']:,} rows, {results['file_mib']:.0f} MiB")
    for name, value in results["figures"].items():
        made.add_row(name, f"{value:.2f}", f"{GOALS[name]:g}")
    return made


def write_rows(pairs: Path, path: Path, count: int) -> None:
    """Write HH's pairs over and over, a number in each prompt."""
    import pyarrow as arrow
    from pyarrow import parquet

    from dpo_lightning import RowFormat

    with gzip.open(pairs, "rt", encoding="utf-8") as file:
        examples = [RowFormat().parse(json.loads(line)) for line in file]
    names = ("prompt", "chosen", "rejected")
    schema = arrow.schema([(name, arrow.string()) for name in names])

    def block(start: int) -> list[dict[str, str]]:
        numbered = ((number, examples[number % len(examples)]) for number in range(start, min(start + 1000, count)))
        return [
            dict(zip(names, (f"({number}){example.prompt}", *map(str, example.completions)), strict=True))
            for number, example in numbered
        ]

    blocks = map(block, range(0, count, 1000))
    if path.suffix == ".parquet":
        with parquet.ParquetWriter(path, schema) as writer:
            for rows in blocks:
                writer.write_table(arrow.Table.from_pylist(rows, schema))
        return
    with path.open("w", encoding="utf-8") as lines:
        for rows in blocks:
            lines.writelines(json.dumps(row) + "\n" for row in rows)


def run_process(spec: dict[str, Any]) -> dict[str, Any]:
    cache = {"HF_DATASETS_CACHE": spec["cache"], "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    return run_part("data_scale", spec["stage"], spec, ONE_CORE | cache)


def clocked(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the processor, and what the call returned."""
    start = time.process_time()
    returned = call()
    return time.process_time() - start, returned


class Peak:
    """The most memory of its own that this process has had since now, in MiB: pages of files do not count."""

    def __init__(self) -> None:
        self._before = self._most = memory_mib("RssAnon")
        threading.Thread(target=self._watch, daemon=True).start()

    def mib(self) -> float:
        """Return it."""
        return self._most - self._before

    def _watch(self) -> None:
        while True:
            self._most = max(self._most, memory_mib("RssAnon"))
            time.sleep(0.02)


def read(spec: dict[str, Any]) -> dict[str, Any]:
    """Read the file into the cache of `datasets`."""
    from dpo_lightning.data.reading.sources import load_rows

    peak = Peak()
    return {"read_s": clocked(lambda: load_rows(spec["data"], "train", {}))[0], "peak_mib": peak.mib()}


def turns(spec: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer alone and the whole way from rows to tokenised rows, in turns, over some of the rows."""
    from dpo_lightning import RowFormat
    from dpo_lightning.data import ExampleTokenizer
    from dpo_lightning.data.reading.sources import load_rows
    from dpo_lightning.data.tokenize.loading import load_tokenizer
    from dpo_lightning.data.tokenize.rows import tokenize_rows

    tokenizer = load_tokenizer(spec["tokenizer"])
    rows = load_rows(spec["data"], f"train[:{spec['sample']}]", {})
    texts = [rows[name][:] for name in ("prompt", "chosen", "rejected")]
    encode_batch = tokenizer.backend_tokenizer.encode_batch

    def alone() -> None:
        for start in range(0, len(rows), BATCH):
            for column in texts:
                [each.ids for each in encode_batch(column[start : start + BATCH], add_special_tokens=False)]

    def ours(count: int, turn: int) -> float:
        encode = ExampleTokenizer(tokenizer, 1024 + turn)  # another length, or it would come from the cache
        return clocked(lambda: tokenize_rows(rows.select(range(count)), RowFormat(), encode, "rows"))[0]

    found = []
    for turn in range(spec["turns"]):
        once = ours(1, turn)  # to read the vocabulary, and other things that do not grow with the rows
        found.append({"once_s": once, "tokenizer_s": clocked(alone)[0], "ours_s": ours(len(rows), turn) - once})
    return {"turns": found}


def start(spec: dict[str, Any]) -> dict[str, Any]:
    """A start of a run up to its first batch, its content hash included; of a later one, also the parts of it."""
    from dpo_lightning import PreferenceDataModule
    from dpo_lightning.data.batch_plans import TokenPlan
    from dpo_lightning.data.content_hash import content_hash, index_rows
    from dpo_lightning.data.tokenize.loading import load_tokenizer

    tokenizer = load_tokenizer(spec["tokenizer"])
    peak = Peak()
    data = PreferenceDataModule(spec["data"], tokenizer, batch_tokens=TOKENS, layout="tree")

    def to_first_batch() -> None:
        data.prepare_data()
        data.setup("fit")
        next(iter(data.train_dataloader()))
        assert data.splits.content

    wall, start_s = time.perf_counter(), clocked(to_first_batch)[0]
    seconds = {"start_s": start_s, "start_wall_s": time.perf_counter() - wall, "peak_mib": peak.mib()}
    if spec["stage"] == "first":
        return seconds
    rows, tokens = data.splits["train"], data.splits.lengths("train").tokens

    def anew(call: Callable[[Any], Any]) -> float:
        for kept in Path(rows.cache_files[0]["filename"]).parent.glob("keys-*"):
            kept.unlink()
        return clocked(lambda: call(rows))[0]

    return {
        **seconds,
        "index_rows_s": anew(index_rows),
        "content_hash_s": anew(content_hash),
        "plan_s": clocked(lambda: TokenPlan(tokens, TOKENS).steps(0))[0],
    }


def inspect(spec: dict[str, Any]) -> dict[str, Any]:
    """The doctor's look at as many rows as it takes without being asked for more, 100,000."""
    from dpo_lightning import PreferenceDataModule
    from dpo_lightning.cli.surveys import survey
    from dpo_lightning.data.inspect import Report
    from dpo_lightning.data.tokenize.loading import load_tokenizer

    tokenizer = load_tokenizer(spec["tokenizer"])
    peak = Peak()
    data = PreferenceDataModule(spec["data"], tokenizer)

    def look() -> str:
        return Report.of(survey(data, tokenizer, bar=lambda text, rows: nullcontext(lambda count: None))).document()

    return {"inspect_s": clocked(look)[0], "peak_mib": peak.mib()}


STAGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "read": read,
    "turns": turns,
    "first": start,
    "second": start,
    "inspect": inspect,
}


if __name__ == "__main__":
    main()
