"""The table of formats that are found."""

from __future__ import annotations

from dpo_lightning.data.formats.known import known_formats
from tests.data.formats.test_found import FOUND, LABELLED


def test_a_format_needs_columns_that_it_reads():
    rows = [row for row, *_ in [*FOUND.values(), *LABELLED.values()]]
    for known in known_formats():
        for row in rows:
            if not known.lacking([row]):
                for column in {path.partition(".")[0] for path in known.needs}:
                    assert column in row


def test_what_is_lacking_is_said():
    swift = next(known for known in known_formats() if known.title == "ms-swift")
    assert swift.lacking([{"messages": "q"}]) == [
        "`messages` as a dialogue that ends with an answer",
        "`rejected_response`",
    ]
    assert swift.said == "ms-swift: messages, rejected_response"
