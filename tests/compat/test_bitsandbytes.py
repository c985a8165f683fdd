"""A quantized layer is kept in the form that has a backward."""

from __future__ import annotations

import warnings

import pytest
from torch import nn

from dpo_lightning.compat.bitsandbytes import keep_quantized_backward


def test_a_quantized_layer_says_whether_it_repacks() -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = bitsandbytes.nn.Linear4bit(64, 64)
    assert layer.support_avx512bf16_for_cpu in (True, False)
    layer.support_avx512bf16_for_cpu = True
    keep_quantized_backward(nn.Sequential(layer))
    assert layer.support_avx512bf16_for_cpu is False
