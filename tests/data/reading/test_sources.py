"""Rows from every kind of source, and one line for each way that a source can be broken."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, IterableDataset
from pyarrow import parquet

from dpo_lightning.data.reading.sources import describe, load_rows
from dpo_lightning.errors import InputError

ROWS = [{"prompt": f"p {n}", "chosen": f"yes, {n}", "rejected": f"no {n}\nü"} for n in range(10)]
MESSAGES = [
    {
        "prompt": [{"role": "user", "content": "q"}],
        "chosen": [{"role": "assistant", "content": "a"}],
        "rejected": [{"role": "assistant", "content": "b"}],
    }
] * 3


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(path: Path, rows: list[dict[str, Any]] = ROWS) -> str:
    """Write rows in the format of the suffix."""
    path.parent.mkdir(exist_ok=True, parents=True)
    if path.suffix in PACK:
        plain = Path(write(path.with_suffix(""), rows))
        path.write_bytes(PACK[path.suffix](plain.read_bytes()))
        plain.unlink()
    else:
        WRITE[path.suffix](path, rows)
    return str(path)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]], delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)


def write_arrow(path: Path, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(str(path), table.schema) as file:
        file.write_table(table)


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text(lines(rows))


PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": lambda content: pa.compress(content, "zstd", asbytes=True)}
WRITE = {
    ".jsonl": write_lines,
    ".ndjson": write_lines,
    ".json": lambda path, rows: path.write_text(json.dumps(rows, indent=1)),
    ".parquet": lambda path, rows: parquet.write_table(pa.Table.from_pylist(rows), str(path)),
    ".csv": write_csv,
    ".tsv": write_csv,
    ".arrow": write_arrow,
}


def load(source: Any, split: str = "train", **options: Any) -> list[dict[str, Any]]:
    return [*load_rows(source, split, options)]


# What can be read

SUFFIXES = [".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet", ".arrow", ".tsv", ".ndjson.bz2"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file(tmp_path, suffix):
    assert load(write(tmp_path / f"my.pairs{suffix}")) == ROWS


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json", ".parquet", ".arrow"])
def test_a_file_of_messages(tmp_path, suffix):
    assert load(write(tmp_path / f"pairs{suffix}", MESSAGES)) == MESSAGES


def test_a_path_object(tmp_path):
    assert load(Path(write(tmp_path / "pairs.jsonl"))) == ROWS


def test_json_lines_in_a_json_file(tmp_path):
    path = tmp_path / "pairs.json"
    path.write_text(lines(ROWS))
    assert load(str(path)) == ROWS


def test_json_under_a_field(tmp_path):
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps({"version": 1, "data": ROWS}))
    assert load(str(path), field="data") == ROWS


def test_options_reach_the_reader(tmp_path):
    rows = [{"prompt": "p", "chosen": "None", "rejected": "NA"}]
    path = write(tmp_path / "pairs.csv", rows)
    assert load(path) == rows
    Path(path).write_text("prompt;chosen\np;\n")
    assert load(path, sep=";") == [{"prompt": "p", "chosen": None}]
    assert load(path, delimiter=";", keep_default_na=False) == [{"prompt": "p", "chosen": ""}]


def test_a_directory(tmp_path):
    write(tmp_path / "data" / "train.jsonl")
    write(tmp_path / "data" / "test.jsonl", ROWS[:3])
    assert load(str(tmp_path / "data")) == ROWS
    assert load(str(tmp_path / "data"), "test") == ROWS[:3]


def test_a_mapping_from_split_to_file(tmp_path):
    files = {"fit": write(tmp_path / "a.jsonl"), "check": Path(write(tmp_path / "b.jsonl.gz", ROWS[:3]))}
    assert load(files, "fit") == ROWS
    assert load(files, "check") == ROWS[:3]
    assert describe(files) == f"{tmp_path}/a.jsonl, {tmp_path}/b.jsonl.gz"


def test_a_dataset_saved_to_disk(tmp_path):
    Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "one"))
    DatasetDict(fit=Dataset.from_list(ROWS)).save_to_disk(str(tmp_path / "dict"))
    assert load(str(tmp_path / "one")) == ROWS
    assert load(str(tmp_path / "dict"), "fit") == ROWS
    state = json.loads((tmp_path / "one/state.json").read_text())
    for form in ({"_format_type": "numpy"}, {"_format_type": "custom", "_format_kwargs": {"transform": "os.system"}}):
        (tmp_path / "one/state.json").write_text(json.dumps({**state, **form}))
        assert load(str(tmp_path / "one")) == ROWS


def test_a_dataset_in_memory():
    assert load(Dataset.from_list(ROWS)) == ROWS
    assert load(DatasetDict(fit=Dataset.from_list(ROWS)), "fit") == ROWS


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train[:3]", ROWS[:3]),
        ("train[-2:]", ROWS[-2:]),
        ("train[80%:]", ROWS[8:]),
        ("train[2:4]+train[7:8]", ROWS[2:4] + ROWS[7:8]),
        ("train[:1000]", ROWS),
    ],
)
def test_slices_of_every_kind_of_source(tmp_path, split, expected):
    rows = Dataset.from_list(ROWS)
    rows.save_to_disk(str(tmp_path / "disk"))
    file = write(tmp_path / "pairs.jsonl")
    for source in (rows, DatasetDict(train=rows), str(tmp_path / "disk"), file, {"train": file}):
        assert load(source, split) == expected


def test_a_column_keeps_what_it_holds_however_long_the_file(tmp_path):
    # From 10 MB on, `datasets` would make text of what is not.
    rows = [{"prompt": "p" * 100_000, "chosen": "a", "rejected": "b", "score": 1}] * 110
    other = {"prompt": "p", "chosen": [{"role": "assistant", "content": "a"}], "rejected": 3, "score": 1.5}
    last = load(write(tmp_path / "pairs.jsonl", [*rows, other]))[-1]
    assert last == other


# What cannot


def refused(message: str, source: Any, split: str = "train", **options: Any) -> None:
    with pytest.raises(InputError, match=message) as error:
        load_rows(source, split, options)
    assert "\n" not in str(error.value)


BROKEN_LINES = [
    pytest.param(lines(ROWS[:2]) + '{"prompt": "p", \n' + lines(ROWS), "line 3: malformed JSON", id="cut in a row"),
    pytest.param(lines(ROWS[:2]) + "\n\n{oops}\n", "line 5: malformed JSON", id="after blank lines"),
    pytest.param(lines(ROWS[:2]) + '{"prompt": "a\tb"}\n', "line 3: malformed JSON", id="control character"),
    pytest.param(lines(ROWS) + '{"prompt": "p", "cho', "line 11: malformed JSON", id="cut at the end"),
    pytest.param(lines(ROWS[:2]) + "3\n", "line 3: not a JSON object", id="number"),
    pytest.param('"a"\n"b"\n', "line 1: not a JSON object", id="text"),
    pytest.param('{"prompt": "a", "prompt": "b"}\n', "specified twice", id="the same field twice"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN_LINES)
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json"])
def test_a_malformed_line_is_named_with_its_number(tmp_path, suffix, text, message):
    path = tmp_path / f"pairs{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode())
    refused(f"pairs{suffix}: .*{message}", str(path))


def test_a_malformed_array_is_named_with_its_line(tmp_path):
    path = tmp_path / "pairs.json"
    path.write_text('[{"prompt": "a"},\n {"prompt": }]')
    refused(r"pairs.json: line 2: malformed JSON: .*\(column 13\)", str(path))


def test_only_the_error_is_said(tmp_path, caplog, capfd):
    path = tmp_path / "pairs.jsonl"
    path.write_text("{oops}\n")
    with caplog.at_level(logging.ERROR):
        refused("line 1", str(path))
    assert not caplog.records
    assert "Failed" not in "".join(capfd.readouterr())
    assert logging.getLogger("datasets.packaged_modules").level != logging.CRITICAL


def test_a_truncated_gz(tmp_path):
    path = Path(write(tmp_path / "pairs.jsonl.gz", ROWS * 50))
    path.write_bytes(path.read_bytes()[:-20])
    refused("pairs.jsonl.gz: Compressed file ended", str(path))


def test_a_gz_that_is_none(tmp_path):
    path = tmp_path / "pairs.jsonl.gz"
    path.write_text(lines(ROWS))
    refused("pairs.jsonl.gz: Not a gzipped file", str(path))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_file(tmp_path, suffix):
    path = tmp_path / f"pairs{suffix}"
    path.touch()
    refused(f"pairs{suffix}: the file is empty", str(path))


@pytest.mark.parametrize(
    ("name", "content"), [("a.jsonl", "\n\n"), ("a.json", "[]"), ("a.csv", "prompt,chosen,rejected\n")]
)
def test_a_file_without_rows(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    refused(f"{name}: split 'train' has no rows", str(tmp_path / name))


def test_a_slice_without_rows(tmp_path):
    refused(r"split 'train\[4:2\]' has no rows", Dataset.from_list(ROWS), "train[4:2]")
    refused(r"pairs.jsonl: split 'train\[10:\]' has no rows", write(tmp_path / "pairs.jsonl"), "train[10:]")


def test_a_dataset_without_rows():
    refused("the dataset in memory: split 'train' has no rows", Dataset.from_list([]))


@pytest.mark.parametrize("split", ["test", "train+test", "test[:3]"])
def test_an_unknown_split_is_refused_with_those_that_there_are(tmp_path, split):
    file = write(tmp_path / "pairs.jsonl")
    Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "disk"))
    for source in (file, {"train": file}, Dataset.from_list(ROWS), str(tmp_path / "disk")):
        refused(r"""Unknown split "test". Should be one of \['train'\]""", source, split)


@pytest.mark.parametrize("split", ["", "train[", "train[:x]"])
def test_a_malformed_slice(split):
    refused("Unrecognized instruction format", Dataset.from_list(ROWS), split)


@pytest.mark.parametrize("name", ["no.jsonl", "no.parquet", "no.csv.gz", "a/b/no.json"])
def test_an_unknown_file(tmp_path, name):
    refused(f"{name}: no such file", str(tmp_path / name))
    refused(f"{name}: no such file", {"train": str(tmp_path / name)})


def test_an_unknown_directory(tmp_path):
    refused("no such directory", str(tmp_path / "nothing"))


def test_a_directory_without_data(tmp_path):
    refused(f"{tmp_path}: cannot be loaded: .*data files", str(tmp_path))


@pytest.mark.parametrize("name", ["pairs.txt", "pairs", "pairs.gz"])
def test_an_unsupported_suffix(tmp_path, name):
    (tmp_path / name).write_text(lines(ROWS))
    refused(
        f"{name}: not one of .jsonl, .json, .ndjson, .parquet, .csv, .tsv, .arrow, with or without .gz, .bz2, .zst",
        str(tmp_path / name),
    )


def test_files_of_different_kinds(tmp_path):
    files = {"train": write(tmp_path / "a.jsonl"), "test": [write(tmp_path / "b.csv"), write(tmp_path / "c.parquet")]}
    assert load(files) == ROWS
    assert load(files, "test") == ROWS * 2


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.parquet", "cannot be loaded: "), ("a.arrow", "cannot be loaded: "), ("a.csv", "line 2: not UTF-8: ")],
)
def test_a_damaged_file(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"prompt,chosen,rejected\n\xff\xfe\x00,b,c\n")
    refused(f"{name}: {message}", str(tmp_path / name))


def test_a_csv_with_an_unquoted_comma_in_its_first_row(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("prompt,chosen,rejected\np,yes, please,no\n")
    refused("pairs.csv: line 2: the row has more fields than the header, 4 for 3: put fields with", str(path))


@pytest.mark.parametrize("name", ["nobody/nothing", "nothing-of-this-name"])
def test_a_hub_name_without_a_hub(name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused(f"{name}: cannot be loaded: Couldn't reach '{name}' on the Hub", name)


def test_options_that_mean_nothing(tmp_path):
    refused("data.load_options.foo means nothing for these files: ", write(tmp_path / "pairs.jsonl"), foo=1)
    refused(r"cannot be loaded: .*'foo'.*\(data.load_options gave foo\)", str(tmp_path), foo=1)
    refused("data.load_options: foo", Dataset.from_list(ROWS), foo=1)
    refused("take out `streaming`", write(tmp_path / "pairs.jsonl"), streaming=True)


@pytest.mark.parametrize("source", [None, "", 3, [], {}])
def test_something_else(source):
    refused("data.dataset: give a hub name, a file, a list of files, a directory or a `datasets.Dataset`, not", source)


def test_a_dataset_that_streams():
    refused("streams", IterableDataset.from_generator(lambda: iter(ROWS)))


@pytest.mark.parametrize("count", [-1, 0, "x"])
def test_a_number_of_processes_that_is_none_is_refused_before_anything_is_read(tmp_path, count):
    write(tmp_path / "rows.jsonl")
    refused(r"^data.load_options.num_proc must be at least 1, got", str(tmp_path / "rows.jsonl"), num_proc=count)


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": ' + b"9" * 5000 + b"}\n", {}, "line 2: a number has more than 4300 digits"),
        ("a.jsonl", b'{"a": 1}\n{"\\ud800": 1}\n', {}, "line 2: the field `.*` has half a character in its name"),
        ("a.jsonl", b'{"a": "\xc3\xa9"}\n', {"encoding": "ascii"}, "line 1: not ascii: "),
        ("a.csv", b"a,b\n1,\xc3\xa9\n", {"encoding": "ascii"}, "line 2: not ascii: "),
        ("a.csv", b"a,b\n1,2\n3", {"encoding": "utf-16"}, "line 1: not utf-16: "),
        ("a.csv", b"a;b\n1;2\n", {}, "line 1: the header is one name, `a;b`: say what separates .* such as ';'"),
        ("a.jsonl", b"PAR1\xff\xff", {}, "no text, but what a .parquet file holds: give it that ending"),
        ("a.jsonl.bz2", bz2.compress(b'{"a": 1}\n') + b"garbage", {}, ".*: the file is damaged, or no .bz2"),
        ("a.jsonl.gz.gz", gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), {}, "not one of .jsonl"),
    ],
)
def test_what_the_bytes_of_a_file_cannot_be_is_one_line(tmp_path, name, content, options, said):
    (tmp_path / name).write_bytes(content)
    refused(f"^data.dataset: .*{name}: {said}", str(tmp_path / name), **options)


def test_a_file_under_two_names_is_named_twice(tmp_path):
    file = Path(write(tmp_path / "a.jsonl"))
    (tmp_path / "b.jsonl").symlink_to(file)
    refused(r"b.jsonl: the file is named twice, also as .*a.jsonl", [str(file), str(tmp_path / "b.jsonl")])


def test_the_last_ending_says_what_separates(tmp_path):
    (tmp_path / "a.tsv.csv").write_text("a,b\n1,2\n")
    assert load(str(tmp_path / "a.tsv.csv")) == [{"a": "1", "b": "2"}]
    (tmp_path / "a.csv").write_text("a\tb\n1\t2\n")
    assert load(str(tmp_path / "a.csv"), sep=r"\t") == [{"a": "1", "b": "2"}]
