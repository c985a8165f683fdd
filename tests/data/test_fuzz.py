"""Rows of every kind: each becomes a right pair, is dropped for a counted reason, or is refused in one line.

Each test draws a few texts at a time and judges all rows that they make: more than 10,000 rows of each kind.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dpo_lightning import PreferenceDataModule, RowFormat
from dpo_lightning.data import ExampleTokenizer
from dpo_lightning.data.lengths import Lengths
from dpo_lightning.data.tokenize import Encoded, Outcome, RenderedExample
from dpo_lightning.errors import InputError
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.tokenizers import TEMPLATES, chat, merging, sentencepiece, turn, with_bos, words

BOS, EOS = 1, 2
NASTY = [
    *("<s>", "</s>", "<unk>", "<|im_start|>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>", "<0x41>"),
    *("", " ", "\n", "\t\u00a0", "\x00", "\x1b[31m", "\r\n", "\u2028", "\ufeff", "\u202e", "\u200d", "\u0301"),
    *("{prompt}", "{completion}", "{{ messages }}", "{% raw %}", "\\n", "\n\nAssistant:", "\n\nHuman:"),
    *("\ud800", "\udfff", "\ufdd0", "\ufdd1", "\uffff", "𝕊", "👩‍👩‍👧", "\U000e0041", "\U0010ffff", "▁", "Ġ"),
]
TEXT = st.lists(st.one_of(st.text(max_size=6), st.sampled_from(NASTY)), max_size=4).map("".join)
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=2), TEXT),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["role", "content", "tool_calls", "x"]), inner, max_size=3),
        st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": inner}),
    ),
    max_leaves=4,
)
Row = Mapping[str, Any]
Judge = Callable[[Encoded, Row], None]


def fuzz(max_examples: int) -> Callable[[Any], Any]:
    """The same examples every time, and no file left behind."""
    return settings(
        max_examples=max_examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def render(row: Row, row_format: RowFormat, encode: ExampleTokenizer) -> RenderedExample | str:
    """The row as text, or what is wrong with it."""
    try:
        return encode.render(row_format.parse(row, encode.quote), 0)
    except InputError as error:
        return str(error)


def judge_rows(rows: Iterable[Row], row_format: RowFormat, encode: ExampleTokenizer, judge: Judge) -> Counter[str]:
    """Tokenise rows as the DataModule does, and count what becomes of them."""
    counts: Counter[str] = Counter()
    for row in rows:
        rendered = render(row, row_format, encode)
        if isinstance(rendered, str):
            assert len(rendered.splitlines()) == 1
            assert "`" in rendered, "it names the field"
            counts["refused"] += 1
            continue
        (encoding,) = encode.encode([rendered])
        counts[encoding.outcome.name] += 1
        if encoding.outcome == Outcome.KEPT:
            parts = [encoding.example.prompt_ids, *encoding.example.completion_ids]
            assert {type(token) for part in parts for token in part} == {int}
            assert max(map(max, parts)) < len(encode.tokenizer)
            assert min(map(min, parts)) >= 0
            assert encoding.example.completion_ids[0] != encoding.example.completion_ids[1]
            judge(encoding, row)
    return counts


def opens_and_ends_once(encoding: Encoded, opening: list[int]) -> None:
    """Of plain text only the first and the last token are control tokens."""
    for completion in encoding.example.completion_ids:
        tokens = [*encoding.example.prompt_ids, *completion]
        assert [token for token in tokens if token in (BOS, EOS)] == [*opening, EOS]
        assert tokens[-1] == EOS
        assert tokens[: len(opening)] == opening


@pytest.mark.parametrize("kind", ["words", "merging", "sentencepiece", "tiny"])
def test_plain_text(kind):
    build = {"words": words, "merging": merging, "sentencepiece": sentencepiece, "tiny": tiny_tokenizer}[kind]
    tokenizer = with_bos(build()) if kind == "words" else build()
    encode = ExampleTokenizer(tokenizer, 10_000)
    opening = [BOS] if kind in ("words", "sentencepiece") else []
    row_format = RowFormat("q", "good", "bad", prompt_template="[{prompt}]\n", completion_template=" {completion}")
    counts: Counter[str] = Counter()

    def judge(encoding: Encoded, row: Row) -> None:
        opens_and_ends_once(encoding, opening)
        if kind in ("words", "merging"):  # a byte has a token, so nothing is lost
            for name, completion in (
                ("good", encoding.example.completion_ids[0]),
                ("bad", encoding.example.completion_ids[1]),
            ):
                whole = tokenizer.decode(encoding.example.prompt_ids[len(opening) :] + completion[:-1])
                assert whole == f"[{row['q']}]\n {row[name]}"

    @fuzz(100)
    @given(st.lists(TEXT, min_size=5, max_size=5, unique=True))
    def run(texts: list[str]) -> None:
        rows = [dict(zip(("q", "good", "bad"), triple, strict=True)) for triple in product(texts, repeat=3)]
        counts.update(judge_rows(rows, row_format, encode, judge))

    run()
    assert counts.total() >= 10_000
    assert min(counts[name] for name in ("KEPT", "EMPTY_COMPLETION", "IDENTICAL", "refused")) > 500, counts


def test_plain_text_cut_short():
    tokenizer = with_bos(words())
    encode = ExampleTokenizer(tokenizer, 12, 6)
    counts: Counter[str] = Counter()

    def judge(encoding: Encoded, row: Row) -> None:
        assert Lengths.of_examples([encoding.example]).longest.item() <= 12
        assert encoding.example.prompt_ids[0] == BOS
        assert (
            BOS
            not in encoding.example.prompt_ids[1:]
            + encoding.example.completion_ids[0]
            + encoding.example.completion_ids[1]
        )
        assert (
            EOS
            not in encoding.example.prompt_ids
            + encoding.example.completion_ids[0][:-1]
            + encoding.example.completion_ids[1][:-1]
        )

    @fuzz(100)
    @given(st.lists(TEXT, min_size=5, max_size=5, unique=True))
    def run(texts: list[str]) -> None:
        rows = [dict(zip(("prompt", "chosen", "rejected"), triple, strict=True)) for triple in product(texts, repeat=3)]
        counts.update(judge_rows(rows, RowFormat(), encode, judge))

    run()
    assert counts["KEPT"] > 2_000


def test_dialogues_with_an_implicit_prompt():
    tokenizer = words()
    encode = ExampleTokenizer(tokenizer, 10_000)
    counts: Counter[str] = Counter()

    def judge(encoding: Encoded, row: Row) -> None:
        opens_and_ends_once(encoding, [])
        for name, completion in (
            ("chosen", encoding.example.completion_ids[0]),
            ("rejected", encoding.example.completion_ids[1]),
        ):
            assert tokenizer.decode(encoding.example.prompt_ids + completion[:-1]) == row[name]
        assert tokenizer.decode(encoding.example.prompt_ids).endswith("\n\nAssistant:")

    @fuzz(100)
    @given(st.lists(TEXT, min_size=5, max_size=5, unique=True))
    def run(texts: list[str]) -> None:
        rows = [
            {"chosen": f"\n\nHuman:{asked}\n\nAssistant:{good}", "rejected": f"\n\nHuman:{asked}\n\nAssistant:{bad}"}
            for asked, good, bad in product(texts, repeat=3)
        ]
        counts.update(judge_rows([*rows, {"chosen": texts[0], "rejected": texts[1]}], RowFormat(), encode, judge))

    run()
    assert counts.total() >= 10_000
    assert min(counts[name] for name in ("KEPT", "EMPTY_COMPLETION", "IDENTICAL", "refused")) > 500, counts


@pytest.mark.parametrize("explicit", [True, False])
def test_conversations(explicit):
    tokenizer = chat(TEMPLATES["chatml"], words())
    encode = ExampleTokenizer(tokenizer, 10_000)
    special = set(tokenizer.all_special_ids)
    counts: Counter[str] = Counter()

    def written(messages: list[dict[str, str]]) -> str:
        return "".join(f"<|{m['role']}|>{m['content']}</s>\n" for m in messages)

    def judge(encoding: Encoded, row: Row) -> None:
        prompt = row.get("prompt", row["chosen"][:-1])
        for name, completion in (
            ("chosen", encoding.example.completion_ids[0]),
            ("rejected", encoding.example.completion_ids[1]),
        ):
            whole = [*prompt, row[name][-1]]
            tokens = encoding.example.prompt_ids + completion
            assert tokenizer.decode(tokens) == written(whole)
            found = tokenizer.convert_ids_to_tokens([token for token in tokens if token in special])
            assert found == [token for m in whole for token in (f"<|{m['role']}|>", "</s>")]

    def row(system: str, asked: str, good: str, bad: str) -> Row:
        prompt = [turn("system", system), turn("user", asked)]
        if explicit:
            return {"prompt": prompt, "chosen": [turn("assistant", good)], "rejected": [turn("assistant", bad)]}
        return {"chosen": [*prompt, turn("assistant", good)], "rejected": [*prompt, turn("assistant", bad)]}

    @fuzz(100)
    @given(st.lists(TEXT, min_size=5, max_size=5, unique=True))
    def run(texts: list[str]) -> None:
        rows = [row(texts[0], *triple) for triple in product(texts, repeat=3)]
        counts.update(judge_rows(rows, RowFormat(), encode, judge))

    run()
    assert counts.total() >= 10_000
    assert min(counts[name] for name in ("KEPT", "EMPTY_COMPLETION", "IDENTICAL", "refused")) > 500, counts


def test_junk_in_every_field():
    encode = ExampleTokenizer(chat(TEMPLATES["chatml"]), 200)
    counts: Counter[str] = Counter()

    @fuzz(100)
    @given(st.lists(JUNK, min_size=3, max_size=3))
    def run(values: list[Any]) -> None:
        values += ["a", [turn("assistant", "b")], [turn("assistant", "c")]]
        rows = [
            dict(zip(("prompt", "chosen", "rejected"), triple, strict=True)) for triple in product(values, repeat=3)
        ]
        rows += [{"chosen": good, "rejected": bad} for good, bad in product(values, repeat=2)]
        counts.update(judge_rows(rows, RowFormat(), encode, lambda *_: None))

    run()
    assert counts["refused"] > 5_000
    assert counts["KEPT"]


@pytest.mark.parametrize(
    ("field", "filler", "outcome"),
    [
        ("chosen", "a", "KEPT"),
        ("chosen", "</s>", "KEPT"),
        ("chosen", " ", "EMPTY_COMPLETION"),
        ("prompt", "𝕊", "NO_ROOM"),
    ],
)
def test_a_megabyte_in_a_field(field, filler, outcome):
    row = {"prompt": "ab", "chosen": "yes", "rejected": "no", field: filler * (2**20 // len(filler.encode()))}
    counts = judge_rows([row], RowFormat(), ExampleTokenizer(with_bos(words()), 64), lambda *_: None)
    assert counts == Counter([outcome])


CLEAN = TEXT.filter(lambda text: not any(mark in text for mark in ("\ud800", "\udfff", "\ufdd0", "\ufdd1")))
ROW = st.fixed_dictionaries({"prompt": CLEAN, "chosen": CLEAN, "rejected": CLEAN})
FAULT = st.tuples(st.integers(0, 3), st.sampled_from(["prompt", "chosen", "rejected"]), st.one_of(st.none(), TEXT))


@pytest.mark.filterwarnings("ignore:.*(are lost|spell control tokens)")
def test_the_data_module_on_files(tmp_path):
    """What it keeps, drops and refuses, down to the row that it names, is what the rows alone show."""
    tokenizer = words()
    encode = ExampleTokenizer(tokenizer, 1024)
    seen: Counter[str] = Counter()

    @fuzz(25)
    @given(st.lists(ROW, min_size=4, max_size=40), st.one_of(st.none(), FAULT))
    def run(rows: list[dict[str, Any]], fault: tuple[int, str, Any] | None) -> None:
        rows = [dict(row) for row in rows]
        if fault is not None:
            rows[fault[0]][fault[1]] = fault[2]
        path = tmp_path / f"pairs{seen.total()}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        rendered = [render(row, RowFormat(), encode) for row in rows]
        refused = [f"row {n}" for n, pair in enumerate(rendered) if isinstance(pair, str)]
        kept = [] if refused else [n for n, pair in enumerate(encode.encode(rendered)) if not pair.outcome]
        data = PreferenceDataModule(str(path), tokenizer)
        if kept:
            data.setup("fit")
            assert sorted(pair for batch in data.train_dataloader() for pair in batch.row_ids.tolist()) == kept
            seen["whole"] += 1
            return
        with pytest.raises(InputError) as error:
            data.setup("fit")
        message = str(error.value)
        assert message.startswith(f"data.dataset: {path}")
        assert (refused[0] if refused else "no pair is left") in message
        assert len(message.splitlines()) == 1
        seen["refused"] += 1

    run()
    assert min(seen["whole"], seen["refused"]) > 2
