"""HTML of the pages: what is a text stays one, whatever it holds."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from dpo_lightning.report.markup import (
    MOST_CHARACTERS,
    anchor,
    document,
    facts,
    folded,
    html_table,
    length_bars,
    long_text,
    notice,
    of_data,
    section,
    table,
    text,
)

EVIL = '</script><img src=x onerror="alert(1)">\x1b[31m\u202e\x00'


class Texts(HTMLParser):
    """What of a source is text, and which elements there are."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.said, self.tags = "", set()
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.said += data


def test_code_is_marked() -> None:
    assert text("set `data.clean` to `<b>`") == "set <code>data.clean</code> to <code>&lt;b&gt;</code>"


def test_markup_and_what_cannot_be_seen_is_text_in_every_part() -> None:
    parts = [
        text(EVIL),
        of_data(EVIL),
        long_text(EVIL * 50),
        notice("warning", EVIL, text(EVIL), EVIL),
        facts([(EVIL, EVIL)]),
        table([[EVIL, "b"], [EVIL, "c"]]),
        document(EVIL, section(EVIL, [folded(text(EVIL), [])])),
    ]
    for part in parts:
        found = Texts(part)
        assert not found.tags & {"img", "script"}
        assert '</script><img src=x onerror="alert(1)">\\x1b[31m\\u202e\\x00' in found.said
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", part)


def test_a_secret_is_masked_and_a_fact_without_a_value_left_out() -> None:
    found = Texts(facts([("token", "hf_" + "a" * 30), ("seed", None), ("name", ""), ("zero", 0)])).said
    assert found == "token***zero0"


def test_a_secret_across_the_cut_of_a_long_text_is_masked() -> None:
    secret = "hf_" + "a" * 5000
    for shift in range(0, 60, 3):
        for before in ("", secret + " "):
            assert "aaa" not in text(f"{before}{'.' * (MOST_CHARACTERS - len(before) - shift)} {secret}")


def test_a_long_text_is_folded_and_a_longer_one_cut() -> None:
    assert "<details>" not in long_text("a" * 700)
    folded_text = Texts(long_text("a" * 5000))
    assert "details" in folded_text.tags
    assert folded_text.said.count("a") == 5000 + len(re.findall("a", "the rest of 5,000 characters"))
    cut = long_text("b" * 1_000_000)
    assert len(cut) < MOST_CHARACTERS + 1000
    assert f"{1_000_000 - MOST_CHARACTERS:,} characters more" in cut
    assert len(text("c" * 1_000_000)) == MOST_CHARACTERS + 1


def test_columns_of_numbers_alone_are_set_to_the_right() -> None:
    source = html_table(["name", "rows"], [["a", "1,000"], ["b", "2"]])
    assert re.findall(r'<td( class=number)? data-name="(\w+)"', source) == 2 * [
        ("", "name"),
        (" class=number", "rows"),
    ]
    assert Texts(html_table(["name"], [])).said == "name"


def test_a_column_named_in_backticks_is_code_in_its_head_and_a_text_in_its_attribute() -> None:
    source = html_table(['`a` "b"'], [["1"]])
    assert "<th class=number><code>a</code> &quot;b&quot;</th>" in source
    assert 'data-name="`a` &quot;b&quot;"' in source


def test_bars_are_as_long_as_their_counts_and_mark_what_is_cut() -> None:
    source = "".join(length_bars([(0, 9, 100), (10, 19, 50), (20, 29, 0)], "tokens", 15))
    assert re.findall(r"width:([\d.]+)%", source) == ["100.0", "50.0", "0.0"]
    assert source.count("bin beyond") == 1
    assert "data.max_length</code> is 15" in source


def test_a_section_has_the_name_that_the_contents_link_to() -> None:
    assert "".join(section("Most wrong", ["x"])).startswith('<section id="most-wrong">')
    assert anchor("Rewards & margins") == "rewards-margins"
