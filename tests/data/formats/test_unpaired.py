"""Rows with a label -> single completions, and completions of other prompts beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpo_lightning import DPO, KTO, PreferenceDataModule, RowFormat, TokenizedExample, UnpairedBCO, UnpairedFormat
from dpo_lightning.data import Example, ExampleTokenizer
from dpo_lightning.data.content_hash import content_hash
from dpo_lightning.data.lengths import Lengths
from dpo_lightning.errors import InputError
from tests.data.formats.test_row import assistant, user
from tests.helpers.runs import module, rows, trainer
from tests.helpers.tiny import tiny_tokenizer

ASKED = {"prompt": "Two and two? ", "completion": "four"}


def parse(row: Any, **settings: Any) -> list[Example]:
    return UnpairedFormat(**settings).examples(row)


def one(row: Any, **settings: Any) -> Example:
    (found,) = parse({"label": True, **row}, **settings)
    return found


@pytest.mark.parametrize(("label", "desirable"), [(True, True), (False, False), (1, True), (0, False), (1.0, True)])
def test_a_label_is_true_or_false(label: Any, desirable: bool) -> None:
    assert parse({**ASKED, "label": label}) == [Example.labelled("Two and two? ", "four", desirable)]


@pytest.mark.parametrize(
    ("label", "shown"),
    [(None, "null"), ("maybe", "'maybe'"), (2, "2"), (0.5, "0.5"), (-1, "-1"), (float("nan"), "nan"), ([True], "True")],
)
def test_what_is_no_label(label: Any, shown: str) -> None:
    with pytest.raises(InputError, match=rf"field `label`: \[?{shown}\]? is no label: true or 1"):
        parse({**ASKED, "label": label})


def test_a_missing_label_column_is_named() -> None:
    with pytest.raises(
        InputError, match=r"no column `label`; the columns are `prompt`, `completion`: name one in data\.format\.label"
    ):
        parse(ASKED)


def test_a_pair_is_two_completions_of_one_prompt() -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "completion": None, "label": None}
    assert parse(row) == [Example("q", ["a", "b"], [True, False])]


@pytest.mark.parametrize("name", ["completion", "label"])
def test_a_row_is_not_both(name: str) -> None:
    with pytest.raises(InputError, match=rf"fields `{name}` and `chosen`: a row is a labelled completion or a pair"):
        parse({"prompt": "q", "chosen": "a", "rejected": "b", name: False})


def test_half_a_pair_is_none() -> None:
    with pytest.raises(InputError, match="field `rejected`: null"):
        parse({"prompt": "q", "chosen": "a", "rejected": None})


def test_names_templates_and_control_tokens() -> None:
    row = {"q": "x", "a": "y", "good": 0}
    names = {"prompt": "q", "completion": "a", "label": "good"}
    found = parse(row, **names, prompt_template="Q: {prompt}\n", completion_template="A: {completion}")
    assert found == [Example.labelled("Q: x\n", "A: y", False)]
    assert UnpairedFormat().examples({**ASKED, "label": 1}, str.upper)[0].completions[0] == "FOUR"
    assert UnpairedFormat(control_tokens=True).examples({**ASKED, "label": 1}, str.upper)[0].completions[0] == "four"


@pytest.mark.parametrize("field", ["prompt_template", "completion_template", "turn_marker"])
def test_its_own_name_stands_in_what_it_refuses(field: str) -> None:
    with pytest.raises(InputError, match=rf"UnpairedFormat\.{field} must"):
        UnpairedFormat(**{field: ""})


def test_a_dialogue_in_text_is_split_before_its_last_answer() -> None:
    start = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    assert one({"completion": f"{start} d"}) == Example.labelled(start, " d", True)
    with pytest.raises(InputError, match=r"no column `prompt`, and `completion` has no turn that opens with"):
        one({"completion": "no turn"})


def test_messages() -> None:
    prompt, answer = [user("q")], [assistant("a")]
    expected = Example.labelled(prompt, answer, True)
    assert one({"prompt": prompt, "completion": answer}) == expected
    assert one({"prompt": "q", "completion": answer}) == expected
    assert one({"prompt": prompt, "completion": prompt + answer}) == expected
    assert one({"completion": prompt + answer}) == expected
    longer = [*prompt, assistant("b"), user("c")]
    assert one({"completion": longer + answer}) == Example.labelled(longer, answer, True)


def test_a_single_completion_has_the_tokens_that_it_has_in_a_pair() -> None:
    encode = ExampleTokenizer(tiny_tokenizer(), max_length=18, max_prompt_length=9)
    pairs = [Example.pair(row["prompt"], row["chosen"], row["rejected"]) for row in rows(9)]
    for pair in pairs:
        whole = encode(pair).example
        for completion, ids in zip(pair.completions, whole.completion_ids, strict=True):
            alone, outcome, *_ = encode(Example.labelled(pair.prompt, completion, True))
            assert (alone.prompt_ids, alone.branches) == (whole.prompt_ids, [ids])
            lengths = Lengths.of_examples([alone])
            assert (outcome, lengths.tokens) == (0, lengths.longest)


# Completions of other prompts


def test_the_choice_does_not_hang_on_the_order_and_hardly_on_other_rows(tmp_path: Path) -> None:
    def choice(found: list[dict[str, Any]], **settings: Any) -> dict[Any, Any]:
        pairs = prepared(module(objective=KTO()), data(tmp_path, found, **settings)).examples_used("fit")[0]
        return {(*row["prompt_ids"], 0, *row["completion_ids"][0]): row["mismatched_ids"] for row in pairs.rows}

    found = labelled(24)
    expected, reseeded = choice(found), choice(found, seed=1)

    assert choice(found[::-1]) == expected
    more = choice([*found, {**ASKED, "label": True}])
    assert 0 < sum(more[row] != others for row, others in expected.items()) <= 4
    assert sum(others != reseeded[row] for row, others in expected.items()) > 8


def labelled(count: int) -> list[dict[str, Any]]:
    """In turn a pair, a desirable completion and an undesirable one."""
    kinds: list[Any] = [
        lambda row: row,
        lambda row: {"prompt": row["prompt"], "completion": row["chosen"], "label": True},
        lambda row: {"prompt": row["prompt"], "completion": row["rejected"], "label": False},
    ]
    return [kinds[number % 3](row) for number, row in enumerate(rows(count))]


def write(path: Path, found: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return str(path)


def data(path: Path, found: list[dict[str, Any]] | None = None, **settings: Any) -> PreferenceDataModule:
    source = write(path / "rows.jsonl", labelled(24) if found is None else found)
    return PreferenceDataModule(source, tiny_tokenizer(), **{"format": UnpairedFormat(), "batch_pairs": 4, **settings})


def prepared(module: Any, data: PreferenceDataModule) -> PreferenceDataModule:
    """As a fit of the module has it, before its first step."""
    run = trainer(max_steps=0)
    run.fit(module, data)
    data.trainer = run
    return data


def test_both_kinds_of_rows_in_one_file(tmp_path: Path) -> None:
    found = data(tmp_path)
    found.prepare_data()
    pairs = found.examples_used("fit")[0]

    def ids(text: str) -> list[int]:
        return tiny_tokenizer()(text)["input_ids"]

    for number, row in enumerate(labelled(24)):
        texts = {row["chosen"]: True, row["rejected"]: False} if "chosen" in row else {row["completion"]: row["label"]}
        completions = [[*ids(text), 2] for text in texts]
        assert pairs[number] == TokenizedExample(number, ids(row["prompt"]), completions, labels=[*texts.values()])
    assert len(pairs) == 24


def test_labels_are_counted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = data(tmp_path, [*labelled(24), {"prompt": "empty", "completion": "", "label": 1}])
    with caplog.at_level("INFO"):
        found.prepare_data()
        found.setup("fit")

    reports = [message for message in caplog.messages if "completions" in message]
    assert len(reports) == 1
    assert "33 completions, 32 kept (0 of them truncated, 16 desirable, 16 undesirable)" in reports[0]
    assert "dropped 1 with an empty completion" in reports[0]


@pytest.mark.parametrize(("label", "kind"), [(True, "desirable"), (False, "undesirable")])
def test_a_single_label_is_told(tmp_path: Path, label: bool, kind: str) -> None:
    found = [{"prompt": row["prompt"], "completion": row["chosen"], "label": label} for row in rows(8)]
    with pytest.warns(UserWarning, match=f"train rows: every completion is {kind}: there is nothing to tell apart"):
        data(tmp_path, found).setup()


def test_a_row_with_a_wrong_label_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rows\.jsonl, split train, row 2 \(from 0\): field `label`: 3 is no label"):
        data(tmp_path, [{**ASKED, "label": label} for label in (1, 0, 3)]).prepare_data()


def test_each_row_gets_the_completion_of_another_prompt(tmp_path: Path) -> None:
    found = prepared(module(objective=KTO()), data(tmp_path, val_split=0.25, max_length=20))
    for split, size in zip(found.examples_used("fit"), (18, 6), strict=True):
        pairs = [split[number] for number in range(len(split))]
        assert len(pairs) == size
        completions = [(pair.prompt_ids, ids) for pair in pairs for ids in pair.completion_ids]
        lengths = Lengths.of_rows(split.rows)
        for pair, tokens, length in zip(pairs, lengths.tokens, lengths.longest, strict=True):
            room = 20 - len(pair.prompt_ids)
            others = [completion[:room] for prompt, completion in completions if prompt != pair.prompt_ids]
            assert pair.mismatched_ids in others
            assert tokens == len(pair.prompt_ids) + sum(map(len, pair.branches))
            assert length == len(pair.prompt_ids) + max(map(len, pair.branches)) <= 20
    cut = [
        row for row in found.examples_used("fit")[0].rows if len(row["prompt_ids"]) + len(row["mismatched_ids"]) == 20
    ]
    assert any(row["mismatched_ids"][-1] != tiny_tokenizer().eos_token_id for row in cut)


def test_what_an_objective_does_not_read_is_not_there(tmp_path: Path) -> None:
    found = prepared(module(objective=UnpairedBCO()), data(tmp_path))
    assert "mismatched_ids" not in found.examples("train").rows.column_names
    # The same data in another run, whose objective reads them.
    found = prepared(module(objective=KTO()), found)
    assert all(row != [] for row in found.examples("train").rows["mismatched_ids"][:])


def test_equal_prompts_are_refused_where_another_one_is_needed(tmp_path: Path) -> None:
    found = [{"prompt": "the same:", "completion": f" {text}", "label": text < "c"} for text in "abcdef"]
    with pytest.raises(InputError, match=r"rows\.jsonl, train rows: all prompts are equal"):
        prepared(module(objective=KTO()), data(tmp_path, found))
    prepared(module(objective=UnpairedBCO()), data(tmp_path, found))


@pytest.mark.parametrize(
    ("objective", "row_format", "told"),
    [
        (KTO(), RowFormat(), r"objective KTO reads completions with a label, .* set data\.format to .*UnpairedFormat"),
        (UnpairedBCO(), RowFormat(), "objective UnpairedBCO reads completions with a label"),
        (DPO(), UnpairedFormat(), r"objective DPO reads pairs, .* take KTO or UnpairedBCO"),
    ],
)
def test_the_other_kind_of_data_is_refused_before_a_row_is_read(
    tmp_path: Path, objective: Any, row_format: Any, told: str
) -> None:
    found = PreferenceDataModule(str(tmp_path / "not-there.jsonl"), tiny_tokenizer(), format=row_format)
    with pytest.raises(InputError, match=told):
        trainer().fit(module(objective=objective), found)


def test_other_labels_are_other_content(tmp_path: Path) -> None:
    hashes = []
    for label in (True, True, False):
        found = data(tmp_path, [*labelled(3), {**ASKED, "label": label}])
        found.prepare_data()
        hashes.append(content_hash(found.examples_used("fit")[0].rows))
    assert hashes[0] == hashes[1] != hashes[2]
