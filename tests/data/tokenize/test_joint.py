"""A prompt with what continues it: the very ids of the whole text, though most of the prompt is read once."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dpo_lightning.data.control_tokens import CLOSE, OPEN, ControlTokens
from dpo_lightning.data.tokenize.cuts import _SPLITS, cuts_of
from dpo_lightning.data.tokenize.joint import JointEncoder
from tests.data.tokenize.common import TOKENIZERS, real
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.tokenizers import CHATML, CORPUS, chat, sentencepiece, words

MARKED = normalizers.Replace(" ", "▁")
PREPENDED = normalizers.Sequence([normalizers.Prepend("▁"), MARKED])
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
ODD = [
    AddedToken("a b", normalized=False),
    AddedToken("dog", rstrip=True),
    AddedToken("fox", lstrip=True),
    AddedToken("two", single_word=True),
]


def trained(normalizer: object, splitter: object, added: Sequence[AddedToken] = ()) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if normalizer is not None:
        backend.normalizer = normalizer
    if splitter is not None:
        backend.pre_tokenizer = splitter
    pieces = (
        pre_tokenizers.ByteLevel.alphabet() if "ByteLevel" in str(splitter) else [f"<0x{n:02X}>" for n in range(256)]
    )
    special = ["<unk>", "<s>", "</s>"]
    backend.train_from_iterator(
        CORPUS * 4,
        trainers.BpeTrainer(
            vocab_size=500, special_tokens=special, initial_alphabet=["▁", *pieces], show_progress=False
        ),
    )
    backend.add_tokens(list(added))
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def split_by(expression: str) -> PreTrainedTokenizerFast:
    bytes_of_words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    splitter = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(expression), "isolated"), bytes_of_words])
    return trained(normalizers.NFC(), splitter)


KINDS = {
    **TOKENIZERS,
    "byte-level chat": lambda: chat(CHATML, words()),
    "sentencepiece chat": lambda: chat(CHATML, sentencepiece()),
    "Llama 2": lambda: trained(PREPENDED, None),
    "Llama 2 with odd tokens": lambda: trained(PREPENDED, None, ODD),
    "Gemma": lambda: trained(MARKED, pre_tokenizers.Split(" ", "merged_with_previous"), [AddedToken("▁▁")]),
    "whole text": lambda: trained(normalizers.NFC(), pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
    "folded": lambda: trained(normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]), BYTES),
    "odd tokens": lambda: trained(None, BYTES, ODD),
    **{f"expression {number}": lambda each=each: split_by(each) for number, each in enumerate(sorted(_SPLITS))},
}

PIECES = [
    *"abcABC 019.,:;'!\n\t\r-_()",
    *[
        "  ",
        "\n\n",
        " \n",
        " the",
        " dog",
        "dog ",
        "fox ",
        "two",
        "a b",
        "'s",
        " 's",
        "\u3000",
        "\u00a0",
        "\u200b",
        "\x85",
    ],
    *[
        "é",
        "e\u0301",
        "\u0301",
        "\u0308",
        "ς",
        "Σ",
        "日本",
        "👨\u200d👩\u200d👧",
        "\u200d",
        "😀",
        "ﬁ",
        "½",
        "ह",
        "ि",
        "한",
    ],
    *["▁", " ▁", "Ġ", "<s>", "</s>", "<|end|>", "<|user|>", "<0x0A>", f"{OPEN}</s>{CLOSE}", f"{OPEN}<|end|>{CLOSE}"],
]
ENDS = [" ", "  ", "\n", "\n\n", "\u0301", "👨\u200d", ":", ". ", "<s>", "<|user|>", " x", ""]


def made_up(rng: random.Random) -> tuple[str, list[str]]:
    """A prompt that is cut somewhere, and two completions of it."""

    def some(most: int) -> str:
        return "".join(rng.choices(PIECES, k=rng.randrange(most)))

    prompt = rng.choice([*CORPUS, ""])[: rng.randrange(40)] + some(30) + rng.choice(ENDS)
    return prompt, [rng.choice(["", " ", "  ", " a", "\n"]) + some(12) for _ in range(2)]


def encoders(tokenizer: PreTrainedTokenizerBase) -> tuple[ControlTokens, JointEncoder]:
    control = ControlTokens(tokenizer)
    return control, JointEncoder(control.encode, cuts_of(control.rules() or {}))


def check(tokenizer: PreTrainedTokenizerBase, cases: int) -> int:
    """Compare with the ids of the whole texts; the number of prompts that were not read again."""
    control, joint = encoders(tokenizer)
    rng = random.Random(0)
    prompts, completions = zip(*(made_up(rng) for _ in range(cases)), strict=True)
    ids = control.encode(prompts)
    whole = [prompt + each for prompt, of_prompt in zip(prompts, completions, strict=True) for each in of_prompt]
    found = list(joint(prompts, ids, completions))
    for text, expected, got in zip(whole, control.encode(whole), found, strict=True):
        assert got == expected, text
    return sum(joint.cuts.tail(prompt, each[0]) != prompt for prompt, each in zip(prompts, completions, strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_the_ids_are_those_of_the_whole_text(name):
    assert check(KINDS[name](), 60) > 10


@pytest.mark.parametrize("name", ["tokenizers/gpt2", "models/stories260K"])
def test_the_ids_of_real_tokenizers_are_those_of_the_whole_text(shared, name):
    assert check(real(shared, name), 200) > 100


def test_a_prompt_is_read_once():
    """Characters that the tokenizer gets for K completions of a long prompt: little more than each text has."""
    tokenizer, seen = words(), []
    control = ControlTokens(tokenizer)
    joint = JointEncoder(lambda texts: seen.extend(texts) or control.encode(texts), cuts_of(control.rules()))
    prompt = CORPUS[0] * 20 + "Assistant:"
    list(joint([prompt], control.encode([prompt]), [[" yes", "\nno", "ok"]]))
    assert sum(map(len, seen)) < len(prompt) / 10


def test_a_tokenizer_of_which_nothing_is_known_reads_the_whole_text():
    control, joint = encoders(tiny_tokenizer())
    assert joint.cuts is None
    assert list(joint(["ab: c"], control.encode(["ab: c"]), [[" d"]])) == control.encode(["ab: c d"])


def test_a_tail_that_the_prompt_does_not_end_with_is_not_trusted():
    """As of a tokenizer that looks further than its rules let one know."""
    control, joint = encoders(words())
    prompt = CORPUS[0].strip() + " a"
    wrong = [*control.encode([prompt])[0][:-1], 7]
    assert list(joint([prompt], [wrong], [["bc"]])) == control.encode([prompt + "bc"])
