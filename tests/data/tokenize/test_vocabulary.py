"""Tokens that the model has no row for are refused before the rows are read, or at the first row that has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken

from dpo_lightning import PreferenceDataModule, RowFormat
from dpo_lightning.data.tokenize.vocabulary import Vocabulary
from dpo_lightning.errors import InputError
from tests.helpers.runs import data, module, saved_model, trainer, write_rows
from tests.helpers.tiny import tiny_llama, tiny_tokenizer

TOKENS = len(tiny_tokenizer())


def with_special(*names: str, **roles: str) -> Any:
    """The tiny tokenizer with special tokens that its model does not have."""
    tokenizer = tiny_tokenizer()
    added: dict[str, Any] = {"additional_special_tokens": [AddedToken(name, special=True) for name in names]}
    tokenizer.add_special_tokens({**(added if names else {}), **roles})
    return tokenizer


def small() -> Any:
    """A model with a row for each of the tokenizer's own tokens, and no more."""
    return tiny_llama(vocab_size=TOKENS)


def fit(path: Path, tokenizer: Any, policy: Any = None, **settings: Any) -> None:
    trainer(max_steps=1).fit(module(policy), data(path, tokenizer=tokenizer, **settings))


@pytest.mark.parametrize("by_name", [True, False])
def test_an_end_token_that_the_model_does_not_have_is_refused_before_rows_are_read(tmp_path, by_name):
    policy = saved_model(tmp_path / "model", vocab_size=TOKENS) if by_name else small()
    rows = PreferenceDataModule(str(tmp_path / "nowhere.jsonl"), with_special(eos_token="<|im_end|>"))
    line = r"^data\.tokenizer: 1 token has no row in the model, whose embedding has 62: '<\|im_end\|>' \(62\); "
    with pytest.raises(InputError, match=line):
        trainer().fit(module(policy), rows)


def test_a_smaller_model_is_refused_at_every_stage(tmp_path):
    rows = data(tmp_path)
    for start in (trainer().fit, trainer().validate, trainer().predict):
        with pytest.raises(InputError, match=r"^data\.tokenizer: 31 tokens have no row .* has 31: ',' \(31\), "):
            start(module(tiny_llama(vocab_size=31)), rows)


def test_a_model_with_more_rows_than_tokens_trains(tmp_path):
    fit(tmp_path, tiny_tokenizer(), tiny_llama(vocab_size=TOKENS + 8))


def test_a_special_token_without_a_row_trains_where_no_row_of_the_data_has_it(tmp_path):
    fit(tmp_path, with_special("<image>"), small())


def test_the_first_row_that_has_one_is_named(tmp_path):
    tokenizer = with_special("<image>")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(Path(write_rows(rows, 3)).read_text() + '{"prompt": "a <image>", "chosen": "b", "rejected": "c"}\n')
    taken = PreferenceDataModule(str(rows), tokenizer, format=RowFormat(control_tokens=True), batch_pairs=2)
    trainer(max_steps=1).fit(
        module(tiny_llama(vocab_size=TOKENS + 1)), taken
    )  # and the rows are in the cache from now on
    again = PreferenceDataModule(str(rows), tokenizer, format=RowFormat(control_tokens=True))
    with pytest.raises(InputError, match=r"rows\.jsonl, split train: 1 token has no row .*: '<image>' \(62\)"):
        trainer().fit(module(small()), again)
    rows.write_text(rows.read_text() + '{"prompt": "a", "chosen": "b", "rejected": "d"}\n')
    again = PreferenceDataModule(str(rows), tokenizer, format=RowFormat(control_tokens=True))
    with pytest.raises(InputError, match=r"rows\.jsonl, split train, row 3 \(from 0\): 1 token has no row"):
        trainer().fit(module(small()), again)


def test_a_template_that_writes_one_is_refused_at_the_first_row(tmp_path):
    tokenizer = with_special("<|turn|>")
    tokenizer.chat_template = "{% for m in messages %}<|turn|>{{ m['content'] }}{% endfor %}"
    talk = [
        {
            "prompt": [{"role": "user", "content": "a"}],
            **{
                name: [{"role": "assistant", "content": said}]
                for name, said in {"chosen": "b", "rejected": "c"}.items()
            },
        }
    ]
    import datasets

    with pytest.raises(InputError, match=r"row 0 \(from 0\): 1 token has no row .*'<\|turn\|>' \(62\)"):
        trainer().fit(module(small()), PreferenceDataModule(datasets.Dataset.from_list(talk), tokenizer))


def test_a_model_that_does_not_say_is_not_compared():
    Vocabulary(tiny_tokenizer(), None).check()
    Vocabulary(tiny_tokenizer(), None).check_ids([10**6], "row 0")
