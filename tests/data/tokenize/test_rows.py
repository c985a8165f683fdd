"""Rows -> tokenised rows: what is kept and said, which errors are named, and what the cache holds."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, ClassVar

import datasets
import pytest
from datasets import Dataset, DatasetDict

from dpo_lightning import PreferenceDataModule, RowFormat, ScoredListFormat
from dpo_lightning.compat.datasets import fingerprint
from dpo_lightning.data import Example, ExampleTokenizer, Format
from dpo_lightning.errors import InputError
from dpo_lightning.losses import Compares
from tests.data.common import (
    MIXED,
    PAIRS,
    Recorder,
    data,
    flat,
    ids,
    ready,
    rewrite,
    rows,
    run,
    write,
)
from tests.helpers.runs import trainer
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.tokenizers import chat, turn


@pytest.mark.filterwarnings("ignore:.* are lost")
def test_every_pair_is_accounted_for(tmp_path, said):
    path = write(tmp_path / "pairs.jsonl", MIXED)
    module = ready(path, max_length=30)
    assert said == [
        f"{path}, split train: read as pairs: prompt, chosen, rejected",
        f"{path}, split train: 14 pairs, 9 kept (1 of them truncated); dropped 1 with an empty completion, "
        "1 with an empty prompt and no BOS token, 1 whose prompt fills max_length, "
        "2 whose completions are identical after truncation",
    ]
    # Row ids survive.
    assert sorted(flat(module.train_dataloader())) == [0, 1, 2, 3, 4, 9, 11, 12, 13]


def test_it_is_said_once_for_each_split(tmp_path, said):
    module = data(DatasetDict(train=Dataset.from_list(rows()), test=Dataset.from_list(rows(5))), test_split="test")
    run(Recorder(), module, max_epochs=1)
    trainer().test(Recorder(), datamodule=module)
    told = [message for message in said if "kept" in message]
    assert told == [
        "the dataset in memory, split train: 22 pairs, 22 kept (0 of them truncated)",
        "the dataset in memory, split test: 5 pairs, 5 kept (0 of them truncated)",
    ]


def test_no_pair_left_is_an_error():
    with pytest.raises(InputError, match="split train: no pair is left: 3 with an empty completion"):
        ready(Dataset.from_list([{"prompt": "a", "chosen": " ", "rejected": "b"}] * 3))


def test_batches_hold_the_tokens_of_their_rows():
    module = ready(val_split="train")
    tokenizer = tiny_tokenizer()
    for batch in module.val_dataloader():
        for pair, index in enumerate(batch.row_ids.tolist()):
            row = rows()[index]
            for name, sequence in (("chosen", pair), ("rejected", batch.examples + pair)):
                expected = tokenizer(row["prompt"] + row[name])["input_ids"] + [tokenizer.eos_token_id]
                assert batch.input_ids[sequence, : len(expected)].tolist() == expected
                assert batch.lengths[sequence] == len(tokenizer(row[name])["input_ids"]) + 1


def test_columns_of_the_source_do_not_mix_with_ours():
    source = Dataset.from_list([{**row, "length": "x", "outcome": 7, "row": None} for row in rows()])
    assert sorted(flat(ready(source).train_dataloader())) == list(range(PAIRS))


def test_the_format_of_a_dataset_in_memory_does_not_matter():
    formatted = Dataset.from_list(rows()).with_format("torch")
    assert ids(ready(formatted).train_dataloader()) == ids(ready().train_dataloader())


def tokens_on_disk() -> list[str]:
    """Files with tokens, whole or half written, in the cache."""
    return [file.name for file in Path(datasets.config.HF_DATASETS_CACHE).rglob("*") if file.name[:3] in ("cac", "tmp")]


def test_where_tokens_are_kept(tmp_path):
    ready(write(tmp_path / "pairs.jsonl", rows()))
    assert len(tokens_on_disk()) == 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"chosen": None}, "field `chosen`: null"),
        ({"rejected": 3}, "field `rejected`: int, not text"),
        ({"chosen": [{"role": 3, "content": "a"}]}, "field `chosen`, message 0: role 3 is no name of a role"),
    ],
)
@pytest.mark.parametrize("index", [0, 7, 300])
def test_a_bad_row_is_named_and_a_corrected_file_works(tmp_path, bad, message, index):
    good = rows(310)
    path = write(tmp_path / "pairs.jsonl", [*good[:index], {**good[index], **bad}, *good[index + 1 :]])
    with pytest.raises(InputError) as error:
        data(path).prepare_data()
    assert type(error.value) is InputError
    assert str(error.value).startswith(f"data.dataset: {path}, split train, row {index} (from 0): {message}")
    assert not tokens_on_disk()
    rewrite(path, good)
    assert sorted(flat(ready(path).train_dataloader())) == list(range(310))


def test_a_missing_column_is_named(tmp_path):
    path = write(tmp_path / "pairs.jsonl", [{"question": "q", "chosen": "a"}])
    with pytest.raises(InputError, match=r"the columns `question`, `chosen` are of no known format .* lack `rejected`"):
        ready(path)


def test_messages_without_a_template_name_the_row(tmp_path):
    row = {
        "prompt": "q",
        "chosen": [{"role": "assistant", "content": "a"}],
        "rejected": [{"role": "assistant", "content": "b"}],
    }
    with pytest.raises(InputError, match=r"row 0 \(from 0\): the rows are message lists, but .* no chat template"):
        ready(Dataset.from_list([row]))


def test_text_that_is_not_utf_8(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(json.dumps(rows()[0]).encode() + b'\n{"prompt": "\xe9a", "chosen": "a", "rejected": "b"}\n')
    with pytest.raises(InputError, match=r"pairs.jsonl: line \d+: not UTF-8: .*0xe9"):
        ready(str(path))


def never(*args: Any) -> None:
    raise AssertionError("tokenised again")


@pytest.fixture
def tokenised(tmp_path, monkeypatch) -> str:
    """A file whose tokens are in the cache; to tokenise anything more is an error."""
    path = write(tmp_path / "pairs.jsonl", rows())
    ready(path)
    monkeypatch.setattr(ExampleTokenizer, "encode", never)
    return path


def test_the_same_again_comes_from_the_cache(tokenised):
    assert sorted(flat(ready(tokenised).train_dataloader())) == list(range(PAIRS))


def test_a_tokenizer_that_was_used_otherwise_in_between_is_still_the_same(tokenised):
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(2)
    ready(tokenised, tokenizer=tokenizer)


def _other_eos() -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "."
    return tokenizer


def _other_rules() -> Any:
    from tokenizers import normalizers

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


def _template() -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ messages }}"
    return tokenizer


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"max_length": 9}, id="max_length"),
        pytest.param({"max_prompt_length": 5}, id="max_prompt_length"),
        pytest.param({"format": RowFormat(prompt_template="Q: {prompt}")}, id="template"),
        pytest.param({"format": RowFormat(chosen="rejected", rejected="chosen")}, id="columns"),
        pytest.param({"tokenizer": tiny_tokenizer(eos_token=".")}, id="special token"),
        pytest.param({"tokenizer": _other_eos()}, id="special token set later"),
        pytest.param({"tokenizer": _other_rules()}, id="normalizer"),
        pytest.param(
            {"tokenizer": _template()}, id="chat template", marks=pytest.mark.filterwarnings("ignore:.*plain text")
        ),
        pytest.param({"train_split": "train[:10]"}, id="slice"),
    ],
)
def test_whatever_changes_the_tokens_is_tokenised_again(tokenised, settings):
    with pytest.raises(AssertionError, match="tokenised again"):
        ready(tokenised, **settings)


def test_other_data_under_the_same_name_is_tokenised_again(tokenised):
    rewrite(tokenised, rows(start=1))
    with pytest.raises(AssertionError, match="tokenised again"):
        ready(tokenised)


_FIRST_PROCESS = """
import sys
from dpo_lightning import PreferenceDataModule
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.tokenizers import chat, turn
PreferenceDataModule(sys.argv[1], tiny_tokenizer()).prepare_data()
"""


def test_another_process_tokenises_with_a_bar_and_this_one_reads_its_cache(tmp_path, monkeypatch):
    # As rank 0 of a distributed run does in prepare_data, and every rank in setup.
    path = write(tmp_path / "pairs.jsonl", rows())
    environment = {**os.environ, "HF_DATASETS_CACHE": str(datasets.config.HF_DATASETS_CACHE)}
    environment.pop("HF_DATASETS_DISABLE_PROGRESS_BARS", None)
    command = [sys.executable, "-c", _FIRST_PROCESS, path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert f"tokenising {path}, split train: 100%" in done.stderr
    assert "22 pairs, 22 kept" in done.stderr + done.stdout
    monkeypatch.setattr(ExampleTokenizer, "encode", never)
    assert sorted(flat(ready(path).train_dataloader())) == list(range(PAIRS))


def tokens_of(module: PreferenceDataModule) -> list[list[Any]]:
    split = module.splits["train"]
    return [split[name][:] for name in ("row", "prompt_ids", "completion_ids")]


@pytest.mark.filterwarnings("ignore:.* are lost")
def test_several_processes_make_the_rows_of_one(tmp_path, said):
    path = write(tmp_path / "pairs.jsonl", MIXED)
    other = write(tmp_path / "others.jsonl", MIXED)
    alone, together = ready(path, max_length=30), ready(other, max_length=30, num_proc=2)
    assert tokens_of(together) == tokens_of(alone)
    kept = [line for line in said if "kept" in line]
    assert kept[0].removeprefix(path) == kept[1].removeprefix(other)


@pytest.mark.parametrize("num_proc", [None, 1, 3])
def test_another_number_of_processes_reads_what_was_tokenised(tmp_path, monkeypatch, num_proc):
    path = write(tmp_path / "pairs.jsonl", rows())
    first = ready(path, num_proc=2)
    monkeypatch.setattr(ExampleTokenizer, "encode", never)
    again = ready(path, num_proc=num_proc)
    assert fingerprint(again.splits["train"]) == fingerprint(first.splits["train"])
    assert tokens_of(again) == tokens_of(first)


def test_more_processes_than_rows(tmp_path):
    assert len(ready(write(tmp_path / "pairs.jsonl", rows(2)), num_proc=3).splits["train"]) == 2


def test_a_bad_row_is_named_by_whichever_process_meets_it(tmp_path):
    good = rows(310)
    path = write(tmp_path / "pairs.jsonl", [*good[:300], {**good[300], "chosen": None}, *good[301:]])
    with pytest.raises(InputError) as error:
        ready(path, num_proc=2)
    assert type(error.value) is InputError
    assert str(error.value) == f"data.dataset: {path}, split train, row 300 (from 0): field `chosen`: null"


@dataclasses.dataclass(frozen=True)
class Own(Format):
    """Gives what it is told to give."""

    found: tuple[Example, ...]
    gives: ClassVar[Compares] = Compares.PAIRS

    def examples(self, row: Any, quote: Any = str) -> list[Example]:
        return list(self.found)


@pytest.mark.parametrize(
    ("example", "told"),
    [
        (
            Example.labelled("q", "a", True),
            "an example must have 2 of them and no labels, and this one has 1 and 1 labels",
        ),
        (
            Example("q", ["a", "b", "c"]),
            "an example must have 2 of them and no labels, and this one has 3 and no labels",
        ),
        (
            Example.pair("q", "a", "b", weight=1.0),
            r"names the columns \[\], and gives an example the values of \['weight'\]",
        ),
    ],
)
def test_a_format_of_ones_own_gives_what_it_says(example, told):
    with pytest.raises(InputError, match=rf"row 0 \(from 0\): data\.format Own .*{told}"):
        ready(format=Own((example,)))


def test_a_format_of_ones_own_may_give_several_pairs_of_a_row():
    found = (Example.pair("q", "a", "b"), Example.pair("q", "a", "c"))
    module = ready(format=Own(found))
    assert [each.row for each in module.examples("train")][:4] == [0, 0, 1, 1]


@pytest.mark.parametrize(("lost", "kept"), [(1, 2), (2, 1), (3, 6)])
def test_to_lose_a_third_of_the_rows_is_a_warning(lost, kept):
    bad = {"prompt": "a", "chosen": "", "rejected": "b"}
    with pytest.warns(UserWarning, match=f"{lost} of {lost + kept} pairs are lost, {lost} with an empty completion"):
        ready(Dataset.from_list([*rows(kept), *[bad] * lost]))
    assert len(ready(Dataset.from_list([*rows(kept), *rows(lost)])).splits["train"]) == kept + lost


def test_to_lose_less_is_none():
    bad = {"prompt": "a", "chosen": "", "rejected": "b"}
    assert len(ready(Dataset.from_list([*rows(5), bad, bad])).splits["train"]) == 5  # a warning would be an error


THINKING = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if enable_thinking is not defined or enable_thinking %}T:{% endif %}"
    "{% endif %}"
)
TURNS = [
    {"prompt": [turn("user", "q" * n)], "chosen": [turn("assistant", "yes")], "rejected": [turn("assistant", "no")]}
    for n in range(1, 8)
]


def talk(**settings):
    return ready(Dataset.from_list(TURNS), tokenizer=chat(THINKING), **settings)


def test_prompts_that_a_template_opens_otherwise_are_counted_once_with_what_to_set(recwarn):
    talk()
    (said,) = [str(each.message) for each in recwarn if "whose answers the template begins" in str(each.message)]
    assert "split train: of 7 examples 7 whose answers" in said
    assert said.endswith(": set data.chat_template_kwargs.enable_thinking=false")
    recwarn.clear()
    warnings.simplefilter("always")
    talk()
    assert any("of 7 examples 7 whose answers" in str(each.message) for each in recwarn), "also from the cache"


def test_arguments_and_eos_are_in_the_key_of_the_cache(recwarn):
    before = talk()
    set_so = talk(chat_template_kwargs={"enable_thinking": False})
    assert not [each for each in recwarn.list[1:] if "whose answers" in str(each.message)]
    assert set_so.prompts("train") == before.prompts("train"), "what answered dialogues have in common"
    thought = talk(chat_template_kwargs={"enable_thinking": True}, eos="never")
    assert [each[-1:] for each in thought.examples("train")[0].completion_ids] == [
        each[-2:-1] for each in before.examples("train")[0].completion_ids
    ]


def test_lists_with_completions_of_the_same_tokens_are_counted(tmp_path, said):
    """Two of the first row are the same after truncation, and two of the second are as they stand."""
    texts = [["aaaab", "aaaac", "d"], ["a", "b", "a"], ["a", "b", "c"]]
    lists = [{"prompt": "q", "completions": each, "scores": [3, 2, 1]} for each in texts]
    ready(write(tmp_path / "lists.jsonl", lists), format=ScoredListFormat(score="scores"), max_length=5)
    (told,) = said
    assert told.endswith("3 kept (1 of them truncated); 2 have completions of the same tokens, which no policy ranks")
