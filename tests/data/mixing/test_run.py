"""Runs on several sources: held against runs on one, counted by hand, stopped and resumed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, concatenate_datasets
from lightning.pytorch.callbacks import ModelCheckpoint

from dpo_lightning import (
    KTO,
    ByLength,
    Precomputed,
    PreferenceDataModule,
    PreferenceModule,
    RowFormat,
    Source,
    UnpairedFormat,
    WriteRewards,
)
from dpo_lightning.errors import InputError
from tests.data.common import Recorder
from tests.data.common import run as record
from tests.helpers import runs
from tests.helpers.tiny import tiny_llama, tiny_tokenizer
from tests.helpers.tokenizers import chat, turn

FIRST, SECOND = Dataset.from_list(runs.rows(22)), Dataset.from_list(runs.rows(31)[22:])


def mixed(*sources: Source, **settings: Any) -> PreferenceDataModule:
    given = list(sources) or [Source(FIRST, weight=1, name="a"), Source(SECOND, weight=3, name="b")]
    return PreferenceDataModule(tokenizer=tiny_tokenizer(), sources=given, **{"batch_pairs": 4, **settings})


class Off(PreferenceModule):
    """A policy that is not its reference, so that each pair has a loss of its own."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(tiny_llama(), reference=tiny_llama(seed=1), step_zero_check=False, **settings)


class Seen(Recorder):
    """Notes the source and the row of each pair."""

    def _see(self, stage: str, batch: Any) -> torch.Tensor:
        self.seen[stage].append([*zip(batch.texts["data_source"], batch.row_ids.tolist(), strict=True)])
        return self.layer.weight.sum()


@pytest.mark.parametrize("batches", [{"batch_pairs": 4}, {"batch_pairs": None, "batch_tokens": 150}])
def test_sources_without_shares_are_their_rows_in_one_set(run, batches):
    whole = PreferenceDataModule(concatenate_datasets([FIRST, SECOND]), tiny_tokenizer(), **batches)
    several = mixed(Source(FIRST, name="a"), Source(SECOND, name="b"), **batches)
    assert run(data=several, module=Off()).losses == run(data=whole, module=Off()).losses


def test_each_epoch_has_the_exact_rows_of_each_source():
    module = Seen()
    record(module, mixed(Source(FIRST, rows=7, name="a"), Source(SECOND, rows=20, name="b")), max_epochs=4)
    pairs = [pair for batch in module.seen["train"] for pair in batch]
    epochs = [pairs[start : start + 27] for start in range(0, len(pairs), 27)]
    assert [Counter(name for name, _ in epoch) for epoch in epochs] == [{"a": 7, "b": 20}] * 4
    assert {row for name, row in pairs if name == "a"} == {*range(22)}  # 4 x 7 rows, and the whole of it in a turn
    assert all(min(Counter(row for name, row in each if name == "b").values()) == 2 for each in epochs)


def test_weights_divide_the_rows_and_the_shares_are_said(caplog):
    source = mixed()
    with caplog.at_level("INFO"):
        source.setup()
        source.train_dataloader()
    assert "data.sources: 31 rows in each epoch: a 8 of 22 rows (25.8%), b 23 of 9 rows (74.2%)" in caplog.text


def test_each_source_has_validation_metrics_beside_the_mean(run):
    fitted = run(data=mixed(val_split=0.3), module=Off(), max_epochs=1).metrics
    counts = {name: len(rows) for name, rows in zip("ab", mixed_sets(val_split=0.3), strict=True)}
    assert counts == {"a": 7, "b": 3}
    mean = sum(counts[name] * fitted[f"val/{name}/loss"] for name in counts) / 10
    assert fitted["val/loss"] == pytest.approx(mean, rel=1e-5)
    assert fitted["val/a/loss"] != pytest.approx(fitted["val/b/loss"], rel=1e-3)


def mixed_sets(**settings: Any) -> list[Any]:
    source = mixed(**settings)
    source.setup()
    return source.examples_used("validate")


def test_a_file_to_validate_on_is_of_no_source_even_under_its_name(tmp_path):
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in runs.rows(3)))
    source = mixed(val_split={"a": str(tmp_path / "held.jsonl"), "c": str(tmp_path / "held.jsonl")})
    source.setup()
    assert "data_source" not in source.examples("val/a")[0].columns
    assert source.examples("train")[0].columns["data_source"] == "a"


def test_predictions_name_source_and_row(tmp_path):
    path = tmp_path / "rewards.jsonl"
    fit = runs.trainer(callbacks=[WriteRewards(str(path))])
    fit.predict(Off(), mixed(val_split=0.3))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["texts"]["data_source"] for row in rows] == ["a"] * 7 + ["b"] * 3
    assert {row["pair_id"] for row in rows[7:]} < {*range(9)}


def test_errors_name_source_and_row():
    broken = Dataset.from_list([*runs.rows(3), {"prompt": "a", "chosen": None, "rejected": "b"}])
    with pytest.raises(
        InputError, match=r"source b: the dataset in memory, split train, row 3 \(from 0\): field `chos"
    ):
        mixed(Source(FIRST, name="a"), Source(broken, name="b")).setup()
    source = mixed(Source(FIRST, name="a"), Source(SECOND, name="b"), batch_pairs=None, batch_tokens=20, layout="tree")
    source.setup()
    with pytest.raises(InputError, match=r"data.batch_tokens 20: the pair of row \d+ of [ab] \(from 0\) has"):
        source.train_dataloader()


def test_options_and_shares_of_a_source_are_named_as_its_own(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(runs.rows(1)[0]) + "\n")
    own = {"dataset": str(tmp_path / "a.jsonl"), "name": "rare"}
    for settings in ({}, {"streaming": True}):
        with pytest.raises(InputError, match=r"^data\.sources\[0\]\.load_options\.sep means nothing for these files"):
            mixed({**own, "weight": 1, "load_options": {"sep": ";"}}, **settings).setup()
    with pytest.raises(InputError, match=r"^source rare: data\.val_split: 0\.1 of 1 pairs"):
        mixed(Source(FIRST, name="a"), own, val_split=0.1).setup()


def test_sources_have_formats_and_template_arguments_of_their_own(tmp_path):
    template = "{{ style }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
    tokenizer = chat(template + "{% if add_generation_prompt %}<|assistant|>{% endif %}")
    talk = [{"prompt": [turn("user", "a")], "chosen": [turn("assistant", "b")], "rejected": [turn("assistant", "c")]}]
    text = Dataset.from_list([{"q": "ab", "chosen": "c", "rejected": "d"}])
    sources = [
        Source(Dataset.from_list(talk), chat_template_kwargs={"style": "xx"}, name="kind"),
        Source(Dataset.from_list(talk), chat_template_kwargs={"style": "y"}, name="blunt"),
        Source(text, format=RowFormat("q", as_messages=False), name="text"),
    ]
    source = PreferenceDataModule(tokenizer=tokenizer, sources=sources, batch_pairs=4)
    source.setup()
    prompts = [tokenizer.decode(ids) for ids in source.prompts("train")]
    assert prompts == ["xx<|user|>a</s><|assistant|>", "y<|user|>a</s><|assistant|>", "ab"]


def test_single_completions_of_pairs_and_of_labelled_rows(run):
    labelled = [{"prompt": f"q{n}", "completion": "yes" * n, "label": n % 2 == 0} for n in range(1, 8)]
    sources = [Source(FIRST, name="pairs"), Source(Dataset.from_list(labelled), rows=14, name="labelled")]
    fitted = run(data=mixed(*sources, format=UnpairedFormat()), module=PreferenceModule(tiny_llama(), KTO()))
    assert len(fitted.losses) == 2 * 9  # 22 of the pairs, 14 of the others


def test_the_reference_is_cached_for_rows_that_are_taken_twice(run, tmp_path):
    cached = runs.module(reference=Precomputed(str(tmp_path)), lr=1e-2)
    losses = run(data=mixed(), module=cached).losses
    assert losses == pytest.approx(run(data=mixed(), module=runs.module(lr=1e-2)).losses, abs=1e-6)
    assert len({*losses}) > 8


def test_a_curriculum_is_kept_in_every_epoch():
    module = Seen()
    source = mixed(Source(FIRST, rows=7, name="a"), Source(SECOND, name="b"), order=ByLength())
    record(module, source, max_epochs=3)
    lengths = {
        (name, row): len(each.prompt_ids) + sum(map(len, each.completion_ids))
        for each in source.examples("train")
        for name, row in [(each.columns["data_source"], each.row)]
    }
    found = [max(lengths[pair] for pair in batch) for batch in module.seen["train"]]
    assert found == [*sorted(found[:4]), *sorted(found[4:8]), *sorted(found[8:])]
    assert len(found) == 12


def resumed(run: Any, path: Path, before: PreferenceDataModule, after: PreferenceDataModule) -> tuple[Any, Any]:
    keep = ModelCheckpoint(path, "{step}", every_n_train_steps=5, save_top_k=-1)
    whole = run(keep, data=before, module=Off(), enable_checkpointing=True)
    return whole, run(data=after, module=Off(), ckpt_path=path / "step=5.ckpt")


@pytest.mark.parametrize(
    "settings", [{}, {"order": ByLength(descending=True)}, {"batch_pairs": None, "batch_tokens": 150, "layout": "tree"}]
)
def test_a_resumed_run_goes_on_at_its_batch(run, tmp_path, settings):
    whole, rest = resumed(run, tmp_path, mixed(**settings), mixed(**settings))
    assert rest.losses == whole.losses[5:]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ([Source(FIRST, weight=1, name="a"), Source(SECOND, weight=2, name="b")], "'a' gives 10 rows to an epoch, and"),
        ([Source(FIRST, weight=1, name="a"), Source(FIRST, weight=3, name="b")], "'b' has other rows"),
        ([Source(FIRST, weight=1, name="a"), Source(SECOND, weight=3, name="c")], "'b' is gone; 'c' is new"),
    ],
)
def test_a_checkpoint_of_other_sources_is_refused(run, tmp_path, changed, said):
    with pytest.raises(InputError, match=f"written with other sources: .*{said}"):
        resumed(run, tmp_path, mixed(), mixed(*changed))


def test_a_checkpoint_of_another_order_is_refused(run, tmp_path):
    with pytest.raises(InputError, match=r"written with order shuffled, this run has ByLength\(descending=False\)"):
        resumed(run, tmp_path, mixed(), mixed(order=ByLength()))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dataset": "a.jsonl"}, "data.sources and data.dataset: each source says its own"),
        ({"train_split": "train[:4]"}, "data.sources and data.train_split"),
        ({"load_options": {"revision": "x"}}, "data.sources and data.load_options"),
    ],
)
def test_what_a_source_says_is_said_there_alone(settings, said):
    with pytest.raises(InputError, match=said):
        mixed(**settings)


def test_other_rows_have_no_part_in_a_mix():
    source = mixed()
    source.setup()
    with pytest.raises(InputError, match=r"the run mixes data\.sources"):
        source.replace_dataset(FIRST)
