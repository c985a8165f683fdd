"""A process and its parent."""

from __future__ import annotations

from dpo_lightning.utils.processes import end_with_parent


def test_a_process_can_be_tied_to_its_parent() -> None:
    from tests.helpers.saved import forked, reports

    assert reports(*forked(lambda report: report(str(end_with_parent())))) == ["None"]
