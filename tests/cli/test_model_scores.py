"""Log-probs for the doctor, against the model's own logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from dpo_lightning.cli.model_scores import model_scores
from dpo_lightning.policy.prepare import PolicyOptions
from tests.data.inspect.common import clean_labelled, clean_rows, survey
from tests.helpers.runs import saved_model


@pytest.mark.parametrize("rows", [clean_rows(12), clean_labelled(12)], ids=["pairs", "labelled"])
def test_log_probs_are_those_of_separate_forwards(rows, tmp_path: Path):
    model = saved_model(tmp_path / "model", attention_dropout=0.3)
    kept = survey(rows).train.kept
    scores = model_scores(model, PolicyOptions(), kept, count=10, seed=1)
    assert len(scores.examples) == 10
    assert len({each.seen.row for each in scores.examples}) == 10
    plain = AutoModelForCausalLM.from_pretrained(model).eval()
    for each in scores.examples:
        for ids, logp in zip(each.seen.completion_ids, each.logps, strict=True):
            whole = torch.tensor([[*each.seen.prompt_ids.tolist(), *ids.tolist()]])
            with torch.no_grad():
                logps = plain(whole).logits.log_softmax(-1)
            start = len(each.seen.prompt_ids)
            expected = sum(logps[0, place - 1, whole[0, place]].item() for place in range(start, whole.shape[1]))
            assert logp == pytest.approx(expected, abs=1e-3)


def test_fewer_examples_than_asked_for_are_all(tmp_path: Path):
    kept = survey(clean_rows(3)).train.kept
    assert len(model_scores(saved_model(tmp_path / "model"), PolicyOptions(), kept, count=99).examples) == 3
