"""Every architecture in the layout that `auto` takes, against separate unpadded forwards, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from dpo_lightning.attention import tree_problem
from dpo_lightning.batch import collate_tree
from dpo_lightning.errors import RunError
from dpo_lightning.policy.prepare import PolicyOptions, build_policy
from tools.docs.architecture_cases import CASES, Case
from tools.docs.architecture_models import tiny_config
from tools.docs.architectures import DOCUMENT, PAIRS, alone, known_cells, measure
from tools.docs.layout_errors import Errors, errors, scores_alone, scores_of

_BOUND = 2e-6
"""Models that compute norms, rotations or scores in float32 come to 6e-7; the smallest mistake found so far to 7e-2."""
_WINDOWS = {"sliding_window", "attention_window_size", "attention_chunk_size", "window_size"}
_NOT_CALLING = {"gpt_neo", "gptj", "bloom", "mpt", "falcon", "mamba", "mamba2"}
"""These do not use transformers' attention interface."""

TREE = [case for case in CASES if case.layout == "tree"]
PADDED = [case for case in CASES if case.layout == "padded"]
NARROW = [case for case in CASES if 8 in [case.settings.get(name) for name in _WINDOWS]]


def names(value: object) -> str | None:
    return value.name if isinstance(value, Case) else None


def assert_exact(found: Errors) -> None:
    assert found.forward < _BOUND
    assert found.gradients < _BOUND


@pytest.mark.parametrize("case", CASES, ids=names)
def test_the_layout_that_is_chosen_is_exact(case: Case) -> None:
    result = measure(case)

    assert result.layout == case.layout, result.problem
    assert_exact(result.errors)
    assert f"\n{known_cells(case, result)} " in DOCUMENT.read_text(encoding="utf-8"), "write the table anew"


@pytest.mark.parametrize(
    ("case", "layout"), [*((case, "tree") for case in TREE), *((case, "padded") for case in CASES)], ids=names
)
def test_gradient_checkpointing_changes_nothing(case: Case, layout: str) -> None:
    assert_exact(measure(case, layout=layout, gradient_checkpointing=True).errors)


@pytest.mark.parametrize("case", [case for case in PADDED if case.model_type in _NOT_CALLING], ids=names)
def test_a_tree_that_the_attention_never_sees_is_stopped(case: Case) -> None:
    with pytest.raises(RunError, match="attention"):
        measure(case, layout="tree")


@pytest.mark.parametrize("case", [case for case in PADDED if case.model_type not in _NOT_CALLING], ids=names)
def test_a_tree_in_spite_of_the_refusal_is_wrong(case: Case) -> None:
    """These call the tree's attention and mix tokens elsewhere too: nothing but a comparison can tell."""
    found = measure(case, layout="tree").errors

    assert found.forward > 1e4 * _BOUND
    assert found.gradients > 1e4 * _BOUND


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", PADDED, ids=names)
def test_an_untrained_model_is_refused_too(case: Case, dtype: torch.dtype) -> None:
    """Initial weights leak little; training makes it much."""
    model = AutoModelForCausalLM.from_config(tiny_config(case.model_type, **case.settings))

    assert tree_problem(build_policy(model, dtype, PolicyOptions())) is not None


@pytest.mark.parametrize("case", TREE, ids=names)
def test_half_precision_is_no_reason_to_refuse(case: Case) -> None:
    assert tree_problem(build_policy(case.model(), torch.bfloat16, PolicyOptions())) is None


@pytest.mark.parametrize("case", CASES, ids=names)
def test_a_packed_row_without_its_layout_would_show(case: Case) -> None:
    """No error above is small because the model hardly looks at the tokens before it."""
    model = build_policy(case.model(), torch.float64, PolicyOptions())

    found = errors(scores_of(model, collate_tree(PAIRS)._replace(tree=None)), alone(case.name))

    assert found.forward > 0.1
    assert found.gradients > 0.1


@pytest.mark.parametrize("case", NARROW, ids=names)
def test_windows_and_chunks_are_shorter_than_the_sequences(case: Case) -> None:
    wide = replace(case, settings={**case.settings, **dict.fromkeys(_WINDOWS & case.settings.keys(), 512)})
    of_wide = scores_alone(build_policy(wide.model(), torch.float64, PolicyOptions()), PAIRS)

    assert errors(alone(case.name), of_wide).forward > 0.1
