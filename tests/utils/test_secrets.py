"""Tokens and passwords are found by the names of settings, and in texts."""

from __future__ import annotations

import pytest

from dpo_lightning.errors import InputError, RunError
from dpo_lightning.utils.secrets import (
    MASK,
    is_secret,
    masked,
    masked_command,
    masked_places,
    masked_text,
    without_masks,
    without_secrets,
)

SECRETS = [
    "token",
    "hf_token",
    "use_auth_token",
    "api_key",
    "apiKey",
    "X-API-Key",
    "secretAccessKey",
    "aws_secret_access_key",
]
SECRETS += [
    "password",
    "db_password",
    "client_secret",
    "sas_token",
    "connection_string",
    "Authorization",
    "WANDB_API_KEY",
]
SECRETS += ["gitlab_token", "mlflow_tracking_token", "client_token", "passwords", "api_keys", "secrets", "mysql_pwd"]
SECRETS += ["basic_auth", "proxy_auth", "signing_key", "jwt"]
NONE = ["eos_token", "bos_token", "pad_token", "batch_tokens", "max_new_tokens", "control_tokens", "tokenizer", "key"]
NONE += ["keys", "user", "trainable_token_indices", "password_policy_count", "author", "monkey"]
NONE += ["image_token", "user_token", "think_end_token", "mask_token", "pad_token_id", "sort_keys", "key_value_heads"]
NONE += ["token_type_ids", "primary_key", "pwd", "tokens", "secretary", "has_auth"]


@pytest.mark.parametrize("name", SECRETS)
def test_names_of_secrets(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", NONE)
def test_names_of_other_settings(name):
    assert not is_secret(name)


SETTINGS = {
    "policy": "hub/model",
    "model_kwargs": {"token": "abc", "revision": "main", "dtype": None},
    "load_options": {"token": True, "storage_options": {"key": "K", "secret": "S", "anon": False}},
    "files": ["s3://user:word@bucket/rows.jsonl", {"password": 1234}],
}


def test_what_is_shown_has_marks_in_their_place():
    assert masked(SETTINGS) == {
        "policy": "hub/model",
        "model_kwargs": {"token": MASK, "revision": "main", "dtype": None},
        "load_options": {"token": True, "storage_options": {"key": MASK, "secret": MASK, "anon": False}},
        "files": ["s3://***@bucket/rows.jsonl", {"password": MASK}],
    }


def test_what_is_kept_is_without_them():
    kept = {
        "policy": "hub/model",
        "model_kwargs": {"revision": "main", "dtype": None},
        "load_options": {"token": True, "storage_options": {"anon": False}},
        "files": ["s3://***@bucket/rows.jsonl", {}],
    }
    assert without_secrets(SETTINGS) == without_secrets(masked(SETTINGS)) == kept
    assert without_masks({"token": MASK, "revision": "main"}) == {"revision": "main"}


def test_the_places_of_marks_are_named():
    places = ["model_kwargs.token", "load_options.storage_options.key", "load_options.storage_options.secret"]
    assert list(masked_places(masked(SETTINGS))) == [*places, "files.0", "files.1.password"]
    assert list(masked_places(SETTINGS)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://me:p@ss@host/x?token=abc&rows=1", "https://***@host/x?token=***&rows=1"),
        ("https://host/x?X-Amz-Signature=abc", "https://host/x?X-Amz-Signature=***"),
        ("got {'token': 'abc', 'eos_token': '</s>'}", "got {'token': ***, 'eos_token': '</s>'}"),
        ("--model.model_kwargs.token=abc is wrong", "--model.model_kwargs.token=*** is wrong"),
        ("Authorization: Bearer abcdefghij", "Authorization: Bearer ***"),
        ("Authorization: Basic YWJjOmRlZg==, Basic tokenizers", "Authorization: Basic ***, Basic tokenizers"),
        ("https:/me:word@host/x.jsonl: no such file", "https:/***@host/x.jsonl: no such file"),
        ("{token: abc, eos_token: </s>}", "{token: ***, eos_token: </s>}"),
        ("{'token': ['abc'], 'keys': ['a']}", "{'token': ***, 'keys': ['a']}"),
        ("token: no such file, at C:/a@b", "token: no such file, at C:/a@b"),
        ("invalid hf_abcdefghijklmnopqrst here", "invalid *** here"),
        ("token 3 of pair 5: 1.0000", "token 3 of pair 5: 1.0000"),
        ("git@github.com, ssh://git@github.com/x, a@b.c", "git@github.com, ssh://git@github.com/x, a@b.c"),
        ("eos_token=</s>, batch_tokens=5", "eos_token=</s>, batch_tokens=5"),
    ],
)
def test_texts(text, expected):
    assert masked_text(text) == expected


@pytest.mark.parametrize("kind", [InputError, RunError])
def test_errors_hold_none(kind):
    said = str(kind("https://me:word@host/x.jsonl: no such file, {'token': 'abc'}, eos_token=</s>"))
    assert said == "https://***@host/x.jsonl: no such file, {'token': ***}, eos_token=</s>"


def test_secrets_of_the_environment(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "opensesame1")
    assert masked_text("401 for opensesame1") == "401 for ***"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("fit --model.model_kwargs.token plain1 --data.seed 3", "fit --model.model_kwargs.token *** --data.seed 3"),
        ("--model.model_kwargs.token=plain1 b", "--model.model_kwargs.token=*** b"),
        ("--data.load_options.storage_options.key -a", "--data.load_options.storage_options.key ***"),
        ("--data.load_options.storage_options.key=a", "--data.load_options.storage_options.key=***"),
        ("--model.token --data.batch_tokens 64", "--model.token --data.batch_tokens 64"),
        ("--data.batch_tokens 64 --order.key a", "--data.batch_tokens 64 --order.key a"),
    ],
)
def test_a_secret_of_a_command_may_be_a_word_of_its_own(words: str, said: str) -> None:
    assert masked_command(words.split()) == said.split()
    assert masked_command(said.split()) == said.split()
