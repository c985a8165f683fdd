"""The DataModule: what it says, caches, splits, hands to the Trainer, and how it goes on after a restore."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import lightning.pytorch as pl
import pytest
import torch
from datasets import Dataset, DatasetDict
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import nn

from dpo_lightning import DPO, PreferenceDataModule, PreferenceModule, RowFormat
from dpo_lightning.batch import Collate, PreferenceBatch
from dpo_lightning.data import ExampleTokenizer, PreferenceLearner
from dpo_lightning.data.compatibility import DataRead
from dpo_lightning.errors import InputError
from tests.helpers.runs import saved_model, trainer
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

PAIRS, BATCH_PAIRS, BATCHES = 22, 4, 6


def rows(count: int = PAIRS, start: int = 0) -> list[dict[str, str]]:
    """Pairs of different lengths."""
    return [
        {"prompt": f"{'ab' * (n % 5)}:", "chosen": " yes" + "s" * (n % 7), "rejected": " no" + "o" * (n % 3)}
        for n in range(start, start + count)
    ]


# In place of a number of pairs.
TOKENS = {"batch_pairs": None, "length_grouped": None, "layout": "tree", "batch_tokens": 60}


def write(path: Path, content: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return str(path)


def rewrite(path: str, content: list[Any]) -> None:
    """Write anew, and certainly later."""
    before = os.stat(path).st_mtime
    write(Path(path), content)
    os.utime(path, (before + 10, before + 10))


def data(source: Any = None, **settings: Any) -> PreferenceDataModule:
    source = Dataset.from_list(rows()) if source is None else source
    return PreferenceDataModule(
        source, **{"tokenizer": tiny_tokenizer(), "batch_pairs": BATCH_PAIRS, "length_grouped": True, **settings}
    )


def ready(source: Any = None, **settings: Any) -> PreferenceDataModule:
    module = data(source, **settings)
    module.setup()
    return module


def ids(batches: Any) -> list[list[int]]:
    return [batch.row_ids.tolist() for batch in batches]


def flat(batches: Any) -> list[int]:
    return [pair for batch in ids(batches) for pair in batch]


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is told to the user."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


class Recorder(pl.LightningModule):
    """Learns nothing and remembers the pairs of every batch."""

    def __init__(self, reads_steps: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)
        self.reads_steps = reads_steps
        self.seen: dict[str, list[list[int]]] = {"train": [], "val": [], "test": [], "predict": []}
        self.dtypes: set[torch.dtype] = set()

    def _see(self, stage: str, batch: PreferenceBatch) -> torch.Tensor:
        self.seen[stage].append(batch.row_ids.tolist())
        self.dtypes |= {value.dtype for value in batch if isinstance(value, torch.Tensor)}
        return self.layer.weight.sum()

    def training_step(self, batch: PreferenceBatch, batch_idx: int) -> torch.Tensor:
        return self._see("train", batch)

    def validation_step(self, batch: PreferenceBatch, batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            self._see("val", batch)

    def test_step(self, batch: PreferenceBatch, batch_idx: int) -> None:
        self._see("test", batch)

    def predict_step(self, batch: PreferenceBatch, batch_idx: int) -> torch.Tensor:
        self._see("predict", batch)
        return batch.row_ids

    def configure_optimizers(self) -> Any:
        if self.reads_steps:
            assert self.trainer.estimated_stepping_batches > 0  # makes Lightning build the training loader at once
        return torch.optim.SGD(self.parameters(), lr=0.0)


def run(module: Recorder, source: PreferenceDataModule, ckpt_path: str | None = None, **settings: Any) -> pl.Trainer:
    fit = trainer(**{"max_epochs": 3, "max_steps": -1, **settings})
    fit.fit(module, datamodule=source, ckpt_path=ckpt_path)
    return fit


# What is kept, and what is said about it

MIXED = [
    *rows(5),
    {"prompt": "a", "chosen": "", "rejected": "b"},
    {"prompt": "a", "chosen": "same", "rejected": "same"},
    {"prompt": "a" * 40, "chosen": "b", "rejected": "c"},
    {"prompt": "", "chosen": "b", "rejected": "c"},
    {"prompt": "ab", "chosen": "c" * 50, "rejected": "d"},
    {"prompt": "ab", "chosen": "c" * 50, "rejected": "c" * 60},
    *rows(3),
]


def test_every_pair_is_accounted_for(tmp_path, said):
    path = write(tmp_path / "pairs.jsonl", MIXED)
    module = ready(path, max_length=30)
    assert said == [
        f"{path}, split train: 14 pairs, 9 kept (1 of them truncated); dropped 1 with an empty completion, "
        "1 with an empty prompt and no BOS token, 1 whose prompt fills max_length, "
        "2 whose completions are identical after truncation"
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


# Errors


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
        ({"chosen": [{"role": "bot", "content": "a"}]}, "field `chosen`, message 0: role 'bot' is none of"),
    ],
)
@pytest.mark.parametrize("index", [0, 7, 300])
def test_a_bad_row_is_named_and_a_corrected_file_works(tmp_path, bad, message, index):
    good = rows(310)
    path = write(tmp_path / "pairs.jsonl", [*good[:index], {**good[index], **bad}, *good[index + 1 :]])
    with pytest.raises(InputError) as error:
        data(path).prepare_data()
    assert type(error.value) is InputError
    assert str(error.value).startswith(f"{path}, split train, row {index} (from 0): {message}")
    assert not tokens_on_disk()
    rewrite(path, good)
    assert sorted(flat(ready(path).train_dataloader())) == list(range(310))


def test_a_missing_column_is_named(tmp_path):
    path = write(tmp_path / "pairs.jsonl", [{"question": "q", "chosen": "a"}])
    with pytest.raises(InputError, match=r"row 0 \(from 0\): no column `rejected`; the columns are `question`, `chos"):
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
    with pytest.raises(InputError, match=r"pairs.jsonl, split train: not UTF-8: .*0xe9"):
        ready(str(path))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"val_split": 1.5}, "data.val_split: a held-out fraction is between 0 and 1, got 1.5"),
        ({"val_split": 0.0}, "data.val_split"),
        ({"val_split": 1}, "data.val_split"),
        ({"batch_pairs": 0}, "data.batch_pairs must be at least 1, got 0"),
        ({"batch_tokens": 0}, "data.batch_tokens must be at least 1, got 0"),
        ({"eval_batch_pairs": 0}, "data.eval_batch_pairs must be at least 1"),
        ({"batch_tokens": 90}, "data.batch_pairs and data.batch_tokens: give one of them"),
        ({"batch_pairs": None, "batch_tokens": 90}, "data.length_grouped: with data.batch_tokens"),
        ({"num_workers": -1}, "data.num_workers must be at least 0"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(settings, message):
    with pytest.raises(InputError, match=message):
        data(**settings)


def test_a_fraction_that_leaves_nothing_to_train_on():
    with pytest.raises(InputError, match=r"data.val_split: 0.9 of 2 pairs: "):
        ready(Dataset.from_list(rows(2)), val_split=0.9)


@pytest.mark.parametrize("source", ["nowhere/at/all", "./nowhere"])
def test_an_unknown_tokenizer(source):
    with pytest.raises(InputError, match="tokenizer: no such directory"):
        ready(tokenizer=source)


def test_a_directory_without_a_tokenizer(tmp_path):
    with pytest.raises(InputError, match=f"tokenizer '{tmp_path}' cannot be loaded") as error:
        ready(tokenizer=tmp_path)
    assert "\n" not in str(error.value)


def test_something_that_is_no_tokenizer():
    with pytest.raises(InputError, match=r"data.tokenizer: give a name, a directory or .*, not 5"):
        ready(tokenizer=5)


def test_a_chat_template_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"data.chat_template: .*none.jinja"):
        ready(chat_template=str(tmp_path / "none.jinja"))


def test_a_chat_template_from_a_file(tmp_path):
    (tmp_path / "template.jinja").write_text("{% for m in messages %}{{ m.content }}|{% endfor %}")
    source = Dataset.from_list(
        [
            {
                "prompt": "q",
                "chosen": [{"role": "assistant", "content": "a"}],
                "rejected": [{"role": "assistant", "content": "b"}],
            }
        ]
    )
    module = ready(source, chat_template=str(tmp_path / "template.jinja"))
    (batch,) = module.train_dataloader()
    assert module.tokenizer.decode(batch.input_ids[0]) == "q|a|</s>"


# Without a tokenizer of its own


def test_no_trainer_to_take_the_tokenizer_from():
    with pytest.raises(InputError, match=r"data.tokenizer: give a name or directory"):
        ready(tokenizer=None)


def test_a_policy_without_a_name():
    module = PreferenceModule(tiny_llama())
    with pytest.raises(InputError, match=r"data.tokenizer: give a name or directory"):
        trainer().fit(module, datamodule=data(tokenizer=None))


def test_the_policys_own_tokenizer(tmp_path):
    module = data(tokenizer=None)
    trainer(max_steps=1).fit(PreferenceModule(saved_model(tmp_path / "model")), datamodule=module)
    assert module.tokenizer.get_vocab() == tiny_tokenizer().get_vocab()


def test_an_adapter_without_a_tokenizer_has_its_base_models(tmp_path):
    base = saved_model(tmp_path / "model")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    assert ready(tokenizer=tmp_path / "adapter").tokenizer.get_vocab() == tiny_tokenizer().get_vocab()
    tiny_tokenizer(eos_token="!").save_pretrained(tmp_path / "adapter")
    assert ready(tokenizer=tmp_path / "adapter").tokenizer.eos_token == "!"


# The cache


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
        pytest.param({"tokenizer": _template()}, id="chat template"),
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


# Splits


def test_a_held_out_fraction_keeps_row_ids_and_loses_no_pair():
    module = ready(val_split=0.25)
    train, val = (sorted(flat(loader)) for loader in (module.train_dataloader(), module.val_dataloader()))
    assert len(val) == 6
    assert sorted(train + val) == list(range(PAIRS))
    assert flat(ready(val_split=0.25).val_dataloader()) == flat(module.val_dataloader())
    assert flat(ready(val_split=0.25, seed=1).val_dataloader()) != flat(module.val_dataloader())


def test_named_splits_and_slices():
    source = DatasetDict(train=Dataset.from_list(rows()), held_out=Dataset.from_list(rows(5)))
    module = ready(source, train_split="train[4:]", val_split="held_out", test_split="train[:3]", eval_batch_pairs=2)
    assert sorted(flat(module.train_dataloader())) == list(range(18))  # rows of the slice
    assert ids(module.val_dataloader()) == [[0, 1], [2, 3], [4]]
    assert flat(module.test_dataloader()) == [0, 1, 2]
    assert flat(module.predict_dataloader()) == [0, 1, 2]


def test_the_test_pairs_are_the_validation_pairs_unless_named():
    module = ready(val_split="train[:5]")
    assert flat(module.test_dataloader()) == flat(module.val_dataloader()) == [0, 1, 2, 3, 4]


def test_nothing_to_evaluate_on():
    with pytest.raises(InputError, match=r"nothing to validate on: set data.val_split"):
        trainer().validate(Recorder(), datamodule=data())
    with pytest.raises(InputError, match=r"nothing to test on: set data.test_split or data.val_split"):
        trainer().test(Recorder(), datamodule=data())


def test_prompts_are_those_of_the_split():
    module = ready(val_split="train[:3]")
    assert [module.tokenizer.decode(prompt) for prompt in module.prompts("val")] == [":", "ab:", "abab:"]
    with pytest.raises(InputError, match=r"there are no test pairs: set data.test_split"):
        module.prompts("test")


# Loaders


def test_the_training_order_is_new_each_epoch_and_the_validation_order_the_datas():
    module = ready(val_split="train")
    loader = module.train_dataloader()
    orders = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        orders.append(flat(loader))
    assert orders[0] != orders[1]
    assert flat(module.val_dataloader()) == list(range(PAIRS))


def test_worker_processes_give_the_same_batches(capfd):
    plain, parallel = (ready(num_workers=workers).train_dataloader() for workers in (0, 2))
    for one, other in zip(plain, parallel, strict=True):
        assert torch.equal(one.input_ids, other.input_ids)
        assert one.example_weight == other.example_weight == 1 / one.examples
    assert "fork" not in "".join(capfd.readouterr())


def test_iterating_leaves_the_global_generator_alone():
    loader = ready().train_dataloader()
    before = torch.get_rng_state()
    list(loader)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("stage", ["train", "val"])
def test_the_ranks_share_the_pairs(stage):
    shares = []
    for rank in range(2):
        module = ready(val_split="train")
        module.trainer = SimpleNamespace(
            distributed_sampler_kwargs={"num_replicas": 2, "rank": rank},
            lightning_module=None,
            overfit_batches=0.0,
            fit_loop=trainer().fit_loop,
            accumulate_grad_batches=1,
            num_training_batches=99,
        )
        shares.append(ids(getattr(module, f"{stage}_dataloader")()))
    assert len(shares[0]) == len(shares[1])
    assert sorted(pair for share in shares for batch in share for pair in batch) == list(range(PAIRS))


# The layout


class Fits(Recorder, PreferenceLearner):
    """Has an answer to the question after the layout, and notes when it was asked."""

    policy_name = None

    def __init__(self, problem: str | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.problem = problem
        self.asked_on: list[torch.device] = []
        self.trees: set[bool] = set()

    def tree_problem(self) -> str | None:
        self.asked_on.append(self.layer.weight.device)
        return self.problem

    def data_read(self) -> DataRead:
        return DataRead.by(DPO())

    def with_reference(self, collate: Collate) -> Collate:
        return collate

    def _see(self, stage: str, batch: PreferenceBatch) -> torch.Tensor:
        self.trees.add(batch.tree is not None)
        return super()._see(stage, batch)


def everywhere(module: Recorder, source: PreferenceDataModule) -> None:
    """Fit, validate, test and predict."""
    run(module, source, max_epochs=1)
    trainer().validate(module, datamodule=source, verbose=False)
    trainer().test(module, datamodule=source, verbose=False)
    trainer().predict(module, datamodule=source)
    assert all(module.seen.values())


@pytest.mark.parametrize("layout", ["auto", "tree"])
@pytest.mark.parametrize("reads_steps", [False, True], ids=["", "estimated_stepping_batches"])
def test_every_stage_has_the_layout_that_fits(layout, reads_steps):
    module = Fits(reads_steps=reads_steps)
    everywhere(module, data(val_split="train[:5]", layout=layout))
    assert module.trees == {True}
    assert module.asked_on


def test_a_layout_that_does_not_fit_is_said_once_and_replaced():
    module = Fits("its states leak")
    with pytest.warns(UserWarning, match="layout") as caught:
        everywhere(module, data(val_split="train[:5]"))
    told = [str(warning.message) for warning in caught if "layout" in str(warning.message)]
    assert told == ["layout: padded, since its states leak"]
    assert module.trees == {False}


def test_a_layout_that_does_not_fit_is_refused_where_it_was_asked_for():
    with pytest.raises(InputError, match=r"data.layout tree: its states leak: set data.layout to padded or auto"):
        run(Fits("its states leak"), data(layout="tree"))


def test_nobody_is_asked_where_padding_was_asked_for():
    module = Fits("its states leak")
    everywhere(module, data(val_split="train[:5]", layout="padded"))
    assert module.trees == {False}
    assert module.asked_on == []


def test_another_module_is_asked_again():
    source = data()
    run(Fits(), source, max_epochs=1)
    second = Fits("its states leak")
    with pytest.warns(UserWarning, match="its states leak"):
        run(second, source, max_epochs=1)
    assert second.trees == {False}


@pytest.mark.parametrize(
    ("layout", "length_grouped", "grouped"),
    [("tree", None, False), ("padded", None, True), ("tree", True, True), ("padded", False, False)],
)
def test_lengths_are_grouped_where_there_is_padding_unless_asked_for(layout, length_grouped, grouped):
    source = ready(Dataset.from_list(rows(400)), layout=layout, length_grouped=length_grouped)
    lengths = source.splits.lengths("train").longest.tolist()
    spreads = [
        max(found) - min(found) for batch in ids(source.train_dataloader()) if (found := [lengths[i] for i in batch])
    ]
    assert (sum(spreads) / len(spreads) < 2) == grouped
    assert source.state_dict()["length_grouped"] == grouped


# Tokens in place of pairs


def tokens_of(batch: PreferenceBatch) -> int:
    """What the tree layout has in its row."""
    return batch.input_ids.numel()


def test_batches_of_tokens():
    source = ready(**TOKENS, val_split="train[:9]")
    for loader in (source.train_dataloader(), source.val_dataloader()):
        sizes = [tokens_of(batch) for batch in loader]
        assert max(sizes) <= 60
        assert sum(sizes) / len(sizes) > 0.8 * 60
    assert sorted(flat(source.train_dataloader())) == list(range(PAIRS))
    assert flat(source.val_dataloader()) == list(range(9))
    assert len({batch.examples for batch in source.train_dataloader()}) > 1
    assert ids(ready(**TOKENS, val_split="train[:9]", eval_batch_pairs=6).val_dataloader()) == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8],
    ]


def test_a_pair_beyond_the_budget_is_named():
    source = Dataset.from_list([*MIXED[5:7], *rows(8), {"prompt": "a" * 40, "chosen": "b", "rejected": "c"}])
    with pytest.raises(
        InputError,
        match=r"data.batch_tokens 40: the pair of row 10 \(from 0\) has 44 tokens: raise it, or lower data.max_length",
    ):
        ready(source, **{**TOKENS, "batch_tokens": 40}).train_dataloader()


def test_tokens_are_not_counted_in_the_padded_layout():
    with pytest.raises(InputError, match=r"the layout is padded: use data.batch_pairs"):
        ready(**{**TOKENS, "layout": "padded"}).train_dataloader()
    with pytest.raises(
        InputError, match=r"the layout is padded, since there is no PreferenceModule to ask .*: use data"
    ):
        ready(**{**TOKENS, "layout": "auto"}).train_dataloader()
    with (
        pytest.warns(UserWarning, match="its states leak"),
        pytest.raises(InputError, match=r"the layout is padded, since its states leak: use data.batch_pairs"),
    ):
        run(Fits("its states leak"), data(**{**TOKENS, "layout": "auto"}))


# With a Trainer


def test_a_fit_sees_every_pair_once_an_epoch():
    module = Recorder()
    run(module, data(val_split="train[:5]"), max_epochs=2)
    assert len(module.seen["train"]) == 2 * BATCHES
    first, second = module.seen["train"][:BATCHES], module.seen["train"][BATCHES:]
    for epoch in (first, second):
        assert sorted(pair for batch in epoch for pair in batch) == list(range(PAIRS))
    assert first != second
    assert module.seen["val"] == [[0, 1, 2], [3, 4]] * 2


@pytest.mark.parametrize(
    ("settings", "train", "val"),
    [
        ({"limit_train_batches": 2}, 2, 2),
        ({"limit_train_batches": 0.5}, 3, 2),
        ({"limit_val_batches": 1}, 6, 1),
        ({"limit_val_batches": 0}, 6, 0),
        ({"val_check_interval": 2}, 6, 6),
        ({"val_check_interval": 0.5}, 6, 4),
        ({"fast_dev_run": 2}, 2, 2),
        ({"accumulate_grad_batches": 4}, 6, 2),
        ({"max_steps": 3}, 3, 0),
        ({"num_sanity_val_steps": 2}, 6, 2),
        ({"reload_dataloaders_every_n_epochs": 1}, 6, 2),
    ],
)
def test_ways_to_fit(settings, train, val):
    module = Recorder()
    run(module, data(val_split="train[:5]"), **{"max_epochs": 1, **settings})
    assert (len(module.seen["train"]), len(module.seen["val"])) == (train, val)


def test_validate_test_and_predict():
    module, source = Recorder(), data(val_split="train[:5]", test_split="train[5:12]")
    trainer().validate(module, datamodule=source, verbose=False)
    trainer().test(module, datamodule=source, verbose=False)
    predicted = trainer().predict(module, datamodule=source)
    assert module.seen == {
        "train": [],
        "val": [[0, 1, 2], [3, 4]],
        "test": [[0, 1, 2, 3], [4, 5, 6]],
        "predict": [[0, 1, 2, 3], [4, 5, 6]],
    }
    assert [batch.tolist() for batch in predicted] == module.seen["predict"]


def test_a_fit_without_validation_says_nothing_and_leaves_the_trainer_as_it_was(recwarn):
    module = Recorder()
    fit = run(module, data(), max_epochs=2, limit_val_batches=7)
    assert len(module.seen["train"]) == 2 * BATCHES
    assert not [str(warning.message) for warning in recwarn if "val" in str(warning.message)]
    assert not [str(warning.message) for warning in recwarn if "zero" in str(warning.message)]
    assert fit.limit_val_batches == 7
    fit.validate(module, datamodule=data(val_split="train[:5]"), verbose=False)
    assert module.seen["val"] == [[0, 1, 2], [3, 4]]


def test_overfitting_repeats_the_same_batches():
    module = Recorder()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You requested to overfit")  # and it is turned off
        run(module, data(), overfit_batches=2, max_epochs=3)
    assert module.seen["train"] == [[0, 1, 2, 3], [4, 5, 6, 7]] * 3


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed", "16-true", "32-true"])
def test_a_batch_stays_integer_whatever_the_precision(precision):
    module = Recorder()
    run(module, data(), precision=precision, max_epochs=1, limit_train_batches=1)
    assert module.dtypes == {torch.int64}


# Going on


@pytest.fixture
def stopped(tmp_path_factory) -> Any:
    """A run of three epochs that leaves a checkpoint after every step."""

    def fit(**settings: Any) -> tuple[list[list[int]], Path]:
        directory = tmp_path_factory.mktemp("checkpoints")
        module = Recorder()
        every_step = ModelCheckpoint(directory, "{step}", every_n_train_steps=1, save_top_k=-1)
        run(module, data(**settings.pop("data", {})), callbacks=[every_step], enable_checkpointing=True, **settings)
        return module.seen["train"], directory

    return fit


def resumed(checkpoint: Path, reads_steps: bool = False, **settings: Any) -> list[list[int]]:
    module = Recorder(reads_steps)
    run(module, data(**settings.pop("data", {})), ckpt_path=str(checkpoint), **settings)
    return module.seen["train"]


@pytest.mark.parametrize("reads_steps", [False, True], ids=["", "estimated_stepping_batches"])
def test_a_resumed_run_sees_exactly_what_was_left(stopped, reads_steps):
    whole, checkpoints = stopped()
    assert len(whole) == 3 * BATCHES
    for step in (1, 2, 5, 6, 7, 9, 11, 12, 13, 17):
        assert resumed(checkpoints / f"step={step}.ckpt", reads_steps) == whole[step:], step


@pytest.mark.parametrize("step", [2, 6, 8])
def test_with_worker_processes(stopped, step):
    whole, checkpoints = stopped()
    assert resumed(checkpoints / f"step={step}.ckpt", True, data={"num_workers": 2}) == whole[step:]


@pytest.mark.parametrize(
    "settings",
    [
        {"limit_train_batches": 4},
        {"limit_train_batches": 0.5},
        {"accumulate_grad_batches": 2},
        {"accumulate_grad_batches": 4},
        {"data": {"val_split": "train[:5]"}, "val_check_interval": 2},
        {"data": {"val_split": 0.3, "length_grouped": False}},
        {"data": TOKENS},
        {"data": TOKENS, "accumulate_grad_batches": 4},
    ],
    ids=str,
)
def test_whatever_an_epoch_is(stopped, settings):
    whole, checkpoints = stopped(**settings)
    accumulated = settings.get("accumulate_grad_batches", 1)
    per_epoch = len(whole) // 3
    steps_per_epoch = -(-per_epoch // accumulated)
    for step in range(1, 3 * steps_per_epoch):
        epoch, within = divmod(step, steps_per_epoch)
        done = epoch * per_epoch + within * accumulated
        assert resumed(checkpoints / f"step={step}.ckpt", **settings) == whole[done:], step


@pytest.mark.parametrize(("step", "epochs_done"), [(3, 1), (6, 1), (8, 2)])
def test_the_epoch_in_which_max_steps_stops_a_run_is_done_for_lightning_and_so_for_the_data(
    tmp_path, step, epochs_done
):
    whole = Recorder()
    run(whole, data())
    fit = run(Recorder(), data(), max_steps=step)
    fit.save_checkpoint(tmp_path / "last.ckpt")
    assert resumed(tmp_path / "last.ckpt") == whole.seen["train"][epochs_done * BATCHES :]


@pytest.mark.parametrize("step", [3, 6, 8])
def test_a_checkpoint_of_the_step_at_which_max_steps_stops_a_run(tmp_path, step):
    whole = Recorder()
    run(whole, data())
    last = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=step)
    run(Recorder(), data(), max_steps=step, callbacks=[last], enable_checkpointing=True)
    assert resumed(tmp_path / f"step={step}.ckpt") == whole.seen["train"][step:]


def test_a_checkpoint_of_the_epochs_end(tmp_path):
    whole = Recorder()
    run(whole, data())
    at_end = ModelCheckpoint(tmp_path, "{epoch}", save_on_train_epoch_end=True, save_top_k=-1)
    run(Recorder(), data(), callbacks=[at_end], enable_checkpointing=True, max_epochs=2)
    for epoch in range(2):
        assert resumed(tmp_path / f"epoch={epoch}.ckpt") == whole.seen["train"][(epoch + 1) * BATCHES :]


class RestoringLate(SingleDeviceStrategy):
    """Restores after the optimizers are set up, as the sharded strategies do."""

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        return True


def test_a_strategy_that_restores_after_the_loader_is_built(stopped):
    whole, checkpoints = stopped()
    for step in (2, 6, 8):
        late = RestoringLate("cpu", accelerator=pl.accelerators.CPUAccelerator())
        assert resumed(checkpoints / f"step={step}.ckpt", True, strategy=late, accelerator="auto") == whole[step:]


def test_resuming_in_mid_epoch_is_not_called_unreliable(stopped):
    _, checkpoints = stopped()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        resumed(checkpoints / "step=2.ckpt")
    assert not [str(warning.message) for warning in caught if "resum" in str(warning.message)]


def test_a_fit_after_a_test_from_a_checkpoint_begins_at_the_beginning(stopped):
    whole, checkpoints = stopped()
    module, source = Recorder(), data(test_split="train[:4]")
    trainer().test(module, datamodule=source, ckpt_path=str(checkpoints / "step=2.ckpt"), verbose=False)
    run(module, source, max_epochs=1)
    assert module.seen["train"] == whole[:BATCHES]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_pairs": 5}, "written with batch_pairs 4, this run has 5"),
        ({**TOKENS, "batch_tokens": 90}, "written with batch_pairs 4, this run has None"),
        ({"seed": 1}, "written with seed 0, this run has 1"),
        ({"length_grouped": False}, "written with length_grouped True, this run has False"),
        ({"train_split": "train[:20]"}, "written with pairs 22, this run has 20"),
    ],
)
@pytest.mark.parametrize("step", [2, 6])
def test_another_order_is_refused(stopped, changed, message, step):
    _, checkpoints = stopped()
    with pytest.raises(InputError, match=message):
        resumed(checkpoints / f"step={step}.ckpt", data=changed)


def test_other_pairs_of_the_same_number_are_refused(stopped):
    _, checkpoints = stopped()
    module, source = Recorder(), data(Dataset.from_list([{**row, "chosen": " other"} for row in rows()]))
    with pytest.raises(InputError, match=r"written with content [0-9a-f]{32}, this run has [0-9a-f]{32}"):
        run(module, source, str(checkpoints / "step=2.ckpt"))
    with pytest.raises(InputError, match="written with accumulate_grad_batches 1, this run has 2"):
        resumed(checkpoints / "step=2.ckpt", accumulate_grad_batches=2)


@pytest.mark.parametrize(("step", "epoch"), [(1, 1), (5, 1), (6, 1), (8, 2), (11, 2)])
@pytest.mark.parametrize("reads_steps", [False, True])
def test_the_rest_of_the_epoch_can_be_left_out(stopped, step, epoch, reads_steps):
    whole, checkpoints = stopped()
    changed = {"batch_pairs": 5, "resume": "next_epoch"}
    module = Recorder()
    run(module, data(batch_pairs=5))
    per_epoch = len(module.seen["train"]) // 3
    expected = module.seen["train"][epoch * per_epoch :]
    assert resumed(checkpoints / f"step={step}.ckpt", reads_steps, data=changed) == expected
    same = resumed(checkpoints / f"step={step}.ckpt", reads_steps, data={"resume": "next_epoch"})
    assert same == whole[epoch * BATCHES :]


def test_a_layout_that_changes_the_order_is_refused_and_another_one_is_not(tmp_path):
    checkpoint = str(tmp_path / "step=2.ckpt")
    saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
    whole = Fits()
    run(whole, data(length_grouped=None), callbacks=[saving], enable_checkpointing=True, max_epochs=1)
    with pytest.raises(InputError, match="written with length_grouped False, this run has True"):
        run(Fits(), data(length_grouped=None, layout="padded"), checkpoint)
    rest = Fits()
    run(rest, data(length_grouped=False, layout="padded"), checkpoint, max_epochs=1)
    assert rest.seen["train"] == whole.seen["train"][2:]


def test_another_order_does_not_matter_to_an_evaluation(stopped):
    _, checkpoints = stopped()
    module = Recorder()
    source = data(batch_pairs=5, val_split="train[:5]")
    trainer().validate(module, datamodule=source, ckpt_path=str(checkpoints / "step=2.ckpt"), verbose=False)
    assert module.seen["val"] == [[0, 1, 2, 3, 4]]


class Losses(pl.Callback):
    """The loss of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(outputs["loss"].item())


@pytest.mark.parametrize("step", [3, 6, 8])
def test_a_resumed_preference_run_has_the_losses_of_one_that_was_not_interrupted(tmp_path, step):
    def fit(callbacks: list[pl.Callback], ckpt_path: str | None = None) -> None:
        module = PreferenceModule(
            tiny_llama(), optimizer=lambda params: torch.optim.AdamW(params, lr=1e-2, weight_decay=0.0)
        )
        fit = trainer(max_epochs=2, max_steps=-1, callbacks=callbacks, enable_checkpointing=ckpt_path is None)
        fit.fit(module, datamodule=data(), ckpt_path=ckpt_path)

    whole, rest = Losses(), Losses()
    fit([whole, ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=step, save_top_k=-1)])
    fit([rest], str(tmp_path / f"step={step}.ckpt"))
    assert len(set(whole.seen)) == 2 * BATCHES
    assert rest.seen == whole.seen[step:]
