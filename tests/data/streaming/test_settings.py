"""What a stream does not go with, refused before anything is read."""

from __future__ import annotations

import pytest
from datasets import Dataset, IterableDataset

from dpo_lightning import KTO, ByLength, Precomputed, PreferenceDataModule, PreferenceModule, Source, UnpairedFormat
from dpo_lightning.data.cleaning import Clean
from dpo_lightning.data.streaming.settings import streamed_sources, wants_stream
from dpo_lightning.errors import InputError
from tests.data.common import Recorder, rows, write
from tests.data.common import run as record
from tests.helpers import runs
from tests.helpers.tiny import tiny_llama, tiny_tokenizer


@pytest.fixture
def stream(tmp_path):
    source = write(tmp_path / "rows.jsonl", rows(9))

    def made(**settings):
        return PreferenceDataModule(source, tiny_tokenizer(), **{"batch_pairs": 4, "streaming": True, **settings})

    return made


def test_a_stream_is_asked_for_in_three_ways():
    options = {"streaming": True, "name": "x"}
    assert wants_stream("a", False, options)
    assert options == {"name": "x"}
    assert wants_stream("a", True, {})
    assert wants_stream(IterableDataset.from_generator(lambda: iter(rows(2))), False, {})
    assert not wants_stream(Dataset.from_list(rows(2)), False, {"streaming": False})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"order": ByLength()}, r"data\.order with data\.streaming: an order needs all rows"),
        ({"length_grouped": True}, r"data\.length_grouped with data\.streaming"),
        (
            {"clean": Clean(identical=True)},
            r"data\.clean with data\.streaming: .*`dpo-lightning data export`, in whose",
        ),
        ({"val_split": 0.1}, r"data\.val_split with data\.streaming: a fraction needs the number of rows"),
        ({"val_split": {"a": 0.1}}, r"data\.val_split with data\.streaming"),
        ({"streaming": False, "shuffle_buffer": 5}, r"data\.shuffle_buffer: the rows do not stream"),
        ({"shuffle_buffer": 0}, r"data\.shuffle_buffer must be at least 1"),
        ({"streaming": "yes"}, r"data\.streaming must be true or false"),
    ],
)
def test_what_needs_all_rows_is_refused_with_the_reason(stream, settings, said):
    with pytest.raises(InputError, match=said):
        stream(**settings)


STREAM = IterableDataset.from_generator(lambda: iter(rows(2)))


@pytest.mark.parametrize(
    ("sources", "streaming", "said"),
    [
        (
            [Source("a.jsonl", rows=3)],
            True,
            r"data\.sources\[0\]\.weight .* give each source a weight in place of rows 3",
        ),
        ([Source("a.jsonl", weight=1), Source("b.jsonl")], True, r"data\.sources\[1\]\.weight with data\.streaming"),
        ([Source(STREAM, weight=1), Source("b.jsonl")], False, r"data\.sources\[0\] streams, and .*\[1\] does not"),
        (
            [Source("a.jsonl", weight=1), Source("b", weight=1, load_options={"streaming": True})],
            False,
            r"data\.sources\[1\] streams, and data\.sources\[0\] does not",
        ),
    ],
)
def test_sources_stream_together_by_weights(sources, streaming, said):
    with pytest.raises(InputError, match=said):
        PreferenceDataModule(tokenizer=tiny_tokenizer(), sources=sources, streaming=streaming)


def test_sources_stream_where_each_of_them_does():
    given = [Source("a", weight=1, load_options={"streaming": True, "name": "x"}), Source(STREAM, weight=2)]
    assert streamed_sources(given, streaming=False)[0]
    assert streamed_sources(given, streaming=False)[1][0].load_options == {"name": "x"}
    assert streamed_sources((), streaming=True) == (True, ())
    assert not streamed_sources([Source("a")], streaming=False)[0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "give the Trainer max_steps"),
        ({"max_steps": 3, "val_check_interval": 0.5}, r"val_check_interval 0\.5: a stream has no fraction"),
        ({"max_steps": 3, "overfit_batches": 2}, "overfit_batches: a stream has other batches in each epoch"),
    ],
)
def test_a_trainer_that_needs_the_number_of_batches_is_refused(stream, settings, said):
    with pytest.raises(InputError, match=said):
        record(Recorder(), stream(), **settings)


def test_a_batch_must_hold_the_longest_row_there_may_be(stream):
    stream(batch_pairs=None, batch_tokens=200, max_length=100).setup()
    with pytest.raises(InputError, match=r"data\.batch_tokens 199: a row of the stream may have 200 tokens"):
        stream(batch_pairs=None, batch_tokens=199, max_length=100).setup()


def test_completions_of_other_prompts_and_a_cache_of_all_rows_are_refused(stream, tmp_path):
    with pytest.raises(InputError, match=r"objective KTO with data\.streaming: it reads completions of other prompts"):
        runs.trainer().fit(PreferenceModule(tiny_llama(), KTO()), stream(format=UnpairedFormat()))
    with pytest.raises(InputError, match="never all there, and a reference Precomputed scores them before training"):
        runs.trainer().fit(runs.module(reference=Precomputed(str(tmp_path))), stream())


def test_the_rows_themselves_are_not_to_be_had(stream):
    source = stream()
    source.setup()
    with pytest.raises(InputError, match=r"data\.streaming: the training rows are never all there"):
        source.prompts("train")
    with pytest.raises(InputError, match=r"data\.replace_dataset: the training rows stream"):
        source.replace_dataset(Dataset.from_list(rows(3)))
