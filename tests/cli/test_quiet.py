"""Messages that are left out, and those that are not."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import lightning.pytorch as pl
import pytest
from datasets import arrow_dataset

from dpo_lightning.cli.quiet import leave_out_noise, parsing_quietly

LIGHTNING = logging.getLogger("lightning.pytorch.utilities.rank_zero")


@pytest.fixture(autouse=True)
def given_back(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Leave no filter behind."""
    from transformers.utils import logging as bars

    monkeypatch.setattr(LIGHTNING, "filters", [*LIGHTNING.filters])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(arrow_dataset, "hf_tqdm", arrow_dataset.hf_tqdm)
    hook, shown = bars.set_tqdm_hook(None), bars.is_progress_bar_enabled()
    bars.enable_progress_bar()
    with warnings.catch_warnings():
        yield
    bars.set_tqdm_hook(hook)
    if not shown:
        bars.disable_progress_bar()


def test_tips_are_left_out_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    leave_out_noise()
    with caplog.at_level(logging.INFO):
        LIGHTNING.info("💡 Tip: buy %s", "this")
        LIGHTNING.info("GPU available: True (cuda), used: True")
        LIGHTNING.info("`Trainer.fit` stopped: `max_time` reached.")

    assert caplog.messages == ["GPU available: True (cuda), used: True", "`Trainer.fit` stopped: `max_time` reached."]


def test_a_warning_of_other_peoples_code_is_left_out_and_no_other() -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        leave_out_noise()
        warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated, use something else", FutureWarning, stacklevel=1)
        said = "callbacks used to create the checkpoint need to be provided. Please add the following callbacks: "
        warnings.warn(f"Be aware that {said}['KeepRecord'].", UserWarning, stacklevel=1)
        warnings.warn("the loss is deprecated", FutureWarning, stacklevel=1)

    assert [str(each.message) for each in shown] == ["the loss is deprecated"]


def test_words_that_are_handed_on_are_no_matter_while_they_are_parsed() -> None:
    said = "LightningCLI's args parameter is intended to run from within Python"
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with parsing_quietly():
            warnings.warn(said, UserWarning, stacklevel=1)
            warnings.warn("a key is deprecated", UserWarning, stacklevel=1)
        warnings.warn(said, UserWarning, stacklevel=1)

    assert [str(each.message) for each in shown] == ["a key is deprecated", said]


def test_bars_of_weights_are_none_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    from transformers.utils.logging import tqdm

    list(tqdm(range(3), desc="Loading weights"))
    assert "Loading weights" in capsys.readouterr().err

    leave_out_noise()
    list(tqdm(range(3), desc="Loading weights"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "line",
    [
        "Seed set to 0",
        "[rank: 1] Seed set to 0",
        "GPU available: False, used: False",
        "`weights_only` was not set, defaulting to `False`.",
        "`Trainer.fit` stopped: `max_epochs=1` reached.",
        f"{'-' * 100}\ndistributed_backend=gloo\nAll distributed processes registered.",
    ],
)
def test_lines_that_the_start_or_the_end_of_a_fit_says_are_left_out(
    line: str, caplog: pytest.LogCaptureFixture
) -> None:
    leave_out_noise()
    with caplog.at_level(logging.INFO):
        LIGHTNING.info(line)

    assert caplog.messages == []


def test_a_warning_of_a_package_is_its_text_and_one_of_the_user_has_its_place() -> None:
    leave_out_noise()
    leave_out_noise()
    package = warnings.formatwarning(UserWarning("the rows are few"), UserWarning, pl.__file__, 7)
    own = warnings.formatwarning(UserWarning("mine"), UserWarning, __file__, 7)

    assert package == "warning: the rows are few\n"
    assert own.startswith(f"{__file__}:7: UserWarning: mine")
