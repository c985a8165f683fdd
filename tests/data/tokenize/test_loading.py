"""Tokenizers by name, directory and policy, and their chat templates."""

from __future__ import annotations

import json

import pytest
from datasets import Dataset

from dpo_lightning import PreferenceModule
from dpo_lightning.data.tokenize.loading import load_tokenizer, tokenizer_identity
from dpo_lightning.errors import InputError
from tests.data.common import (
    data,
    ready,
)
from tests.helpers.runs import saved_model, trainer
from tests.helpers.tiny import tiny_llama, tiny_tokenizer
from tests.helpers.tokenizers import chat
from tests.helpers.writes_tokens import WritesTokens


@pytest.mark.parametrize("source", ["nowhere/at/all", "./nowhere"])
def test_an_unknown_tokenizer(source):
    with pytest.raises(InputError, match=r"^data.tokenizer: no such directory"):
        ready(tokenizer=source)


def test_a_directory_without_a_tokenizer(tmp_path):
    with pytest.raises(InputError, match=f"tokenizer '{tmp_path}' cannot be loaded") as error:
        ready(tokenizer=tmp_path)
    assert "\n" not in str(error.value)


def test_a_tokenizer_that_brings_code_is_one_that_the_user_loads(tmp_path):
    saved_model(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "own.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'marker')!r}).touch()\n")
    with pytest.raises(InputError, match="brings code, which is not run: if you trust it, load it yourself and give"):
        ready(tokenizer=tmp_path)
    assert not (tmp_path / "marker").exists()


def test_something_that_is_no_tokenizer():
    with pytest.raises(InputError, match=r"data.tokenizer: give a name, a directory or .*, not 5"):
        ready(tokenizer=5)


def test_a_chat_template_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"data.chat_template: .*none.jinja"):
        ready(chat_template=str(tmp_path / "none.jinja"))


def test_a_chat_template_without_a_word(tmp_path):
    (tmp_path / "empty.jinja").write_text("\n")
    with pytest.raises(InputError, match=r"data\.chat_template: .*empty\.jinja: the file is empty"):
        ready(chat_template=str(tmp_path / "empty.jinja"))


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


def test_a_chat_template_with_broken_syntax_is_refused_though_no_row_reads_it(tmp_path):
    (tmp_path / "broken.jinja").write_text("{{ messages[0] }}\n{% for message in messages %}{{")
    with pytest.raises(InputError, match=r"^data.chat_template: .*broken.jinja: line 2: "):
        load_tokenizer(tiny_tokenizer(), str(tmp_path / "broken.jinja"))
    (tmp_path / "whole.jinja").write_text("{% generation %}{{ messages }}{% endgeneration %}")
    load_tokenizer(tiny_tokenizer(), str(tmp_path / "whole.jinja"))


TEMPLATES = {"default": "{{ messages[0].content }}", "rag": "<{{ messages[0].content }}>"}


def several():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = dict(TEMPLATES)
    return tokenizer


def test_a_template_of_the_tokenizer_by_its_name_and_the_given_one_stays_as_it_is(tmp_path, monkeypatch):
    given = several()
    for _ in range(2):
        assert load_tokenizer(given, "rag").chat_template == TEMPLATES["rag"]
    assert given.chat_template == TEMPLATES
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rag").write_text("{{ messages }}")
    with pytest.raises(InputError, match=r"rag is a template of the tokenizer and a file: write \./rag"):
        load_tokenizer(given, "rag")
    assert load_tokenizer(given, "./rag").chat_template == "{{ messages }}"
    with pytest.raises(InputError, match=r"^data.chat_template: other: .*; the tokenizer's own are default, rag"):
        load_tokenizer(given, "other")


def test_a_template_of_another_model(tmp_path):
    several().save_pretrained(tmp_path / "model")
    assert load_tokenizer(tiny_tokenizer(), str(tmp_path / "model")).chat_template == TEMPLATES["default"]
    tiny_tokenizer().save_pretrained(tmp_path / "without")
    with pytest.raises(InputError, match=r"^data.chat_template: .*without: its tokenizer has no chat template"):
        load_tokenizer(tiny_tokenizer(), str(tmp_path / "without"))


def test_a_template_in_json(tmp_path):
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert load_tokenizer(tiny_tokenizer(), str(tmp_path / "chat_template.json")).chat_template == "{{ messages }}"
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(InputError, match=r"other.json: it is JSON without a text `chat_template`"):
        load_tokenizer(tiny_tokenizer(), str(tmp_path / "other.json"))


@pytest.mark.parametrize("text", ["{{ messages }}", "{% for m in messages %}x{% endfor %}", "a\nb"])
def test_the_text_of_a_template_is_no_file(text):
    with pytest.raises(InputError, match=r"^data.chat_template: this is the text of a template: write it to a file"):
        load_tokenizer(tiny_tokenizer(), text)


def test_arguments_become_defaults_and_those_that_no_template_reads_are_refused():
    given = several()
    given.chat_template["default"] += "{{ enable_thinking }}"
    loaded = load_tokenizer(given, None, {"enable_thinking": False})
    assert loaded.apply_chat_template([{"role": "user", "content": "q"}], tokenize=False) == "qFalse"
    for tokenizer in (given, tiny_tokenizer()):
        with pytest.raises(
            InputError, match=r"^data.chat_template_kwargs.thinking: the chat template does not read it"
        ):
            load_tokenizer(tokenizer, None, {"thinking": False})


def test_a_tokenizer_that_writes_tokens_has_no_template_to_replace():
    with pytest.raises(InputError, match=r"^data.chat_template: this tokenizer writes conversations without a Jinja"):
        load_tokenizer(WritesTokens(), "chat.jinja")
    assert load_tokenizer(WritesTokens(), None, {"reasoning_effort": "none"}).chat_template is None


def test_the_identity_of_a_tokenizer_that_writes_tokens_has_what_it_writes():
    other = WritesTokens()
    other._ids = lambda text: [4] * len(text)
    assert tokenizer_identity(WritesTokens()) == tokenizer_identity(WritesTokens()) != tokenizer_identity(other)


def test_an_argument_in_a_text_of_the_template_is_not_read():
    """Where the name is a word of a comment or of a text, nothing happens by it."""
    template = "{# thinking #}{{ 'thinking' }}{{ messages[0].content }}"
    with pytest.raises(InputError, match=r"^data.chat_template_kwargs.thinking: the chat template does not read it"):
        load_tokenizer(chat(template), template_arguments={"thinking": True})
    with pytest.raises(InputError, match=r"^data.chat_template: the tokenizer's own: line 1"):
        load_tokenizer(chat("{% for %}"), template_arguments={"thinking": True})
