"""A batch in two buffers, through all that takes batches elsewhere."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader
from torch.utils.data._utils.pin_memory import pin_memory

from dpo_lightning.batch import PreferenceBatch, TokenizedExample, collate_padded, collate_tree
from dpo_lightning.batch.packed import moved, packed
from tests.batch.test_parts import said

EXAMPLES = [
    TokenizedExample(4, [5, 6], [[7, 8, 9], [3]], labels=[True, False], columns={"weight": 0.3, "source": "web"}),
    TokenizedExample(6, [1], [[2], [4, 5]], labels=[False, False], columns={"weight": 2.0, "source": "books"}),
]


def tensors(batch: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)]


def buffers(batch: Any) -> int:
    return len({id(each.untyped_storage()) for each in tensors(batch)})


class Counted:
    """Moves to the meta device, and counts the copies."""

    def __init__(self) -> None:
        self.copies = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        self.copies += 1
        return tensor.to("meta")


@pytest.mark.parametrize("collate", [collate_tree, collate_padded])
def test_a_batch_is_two_copies(collate: Callable[..., PreferenceBatch]) -> None:
    batch, move = collate(EXAMPLES), Counted()
    there = moved(batch, move)
    assert len(tensors(batch)) >= 10
    assert buffers(batch) == buffers(there) == move.copies == 2
    assert {each.device.type for each in tensors(there)} == {"meta"}
    for here, other in zip(tensors(batch), tensors(there), strict=True):
        assert (here.shape, here.dtype, here.stride()) == (other.shape, other.dtype, other.stride())
        assert here.data_ptr() % 16 == 0
    assert (there.texts, there.completions) == (batch.texts, batch.completions)


def test_what_moves_says_the_same() -> None:
    batch = collate_tree(EXAMPLES)
    assert said(moved(batch, Tensor.clone)) == said(batch)
    assert buffers(moved(batch, Tensor.clone)) == 2


def test_what_is_kept_of_a_batch_keeps_no_token() -> None:
    batch = collate_tree(EXAMPLES)
    small = {id(each.untyped_storage()) for each in (batch.row_ids, batch.labels, batch.lengths) if each is not None}
    assert len(small) == 1
    assert id(batch.input_ids.untyped_storage()) not in small


def test_other_tensors_move_one_by_one() -> None:
    """Of a large tensor a view moves alone, and what a program has put into a batch is what arrives."""
    large = torch.arange(4096)
    own = collate_tree(EXAMPLES)._replace(reference_logps=torch.arange(7), row_ids=large[3:5], lengths=large[:4])
    move = Counted()
    assert moved(own, move).row_ids.untyped_storage().nbytes() == 16
    assert move.copies == 5  # two buffers, and three tensors
    here = moved(own, Tensor.clone)
    assert said(here) == said(own)


def test_a_batch_that_is_there_stays() -> None:
    batch = collate_tree(EXAMPLES)
    assert all(a is b for a, b in zip(tensors(batch), tensors(batch.to("cpu")), strict=True))
    with pytest.raises((TypeError, RuntimeError)):
        batch.to(torch.float16)  # type: ignore[arg-type]


def test_lightning_and_torch_ask_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[Tensor] = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: pinned.append(self) or self.clone())
    batch = collate_tree(EXAMPLES)
    for beside in (batch, {"pairs": batch, "other": torch.zeros(2)}, (batch, 0, 1)):
        pinned.clear()
        there = move_data_to_device(pin_memory(beside), torch.device("meta"))
        assert len(pinned) == 2 + isinstance(beside, dict)
        (found,) = [each for each in tree_leaves(there, is_leaf=is_batch) if is_batch(each)]
        assert buffers(found) == 2


def is_batch(value: Any) -> bool:
    return isinstance(value, PreferenceBatch)


def test_a_worker_sends_two_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    batch = collate_tree(EXAMPLES)
    reduce = torch.multiprocessing.reductions.reduce_storage
    monkeypatch.setitem(
        ForkingPickler._extra_reducers,  # type: ignore[attr-defined]
        torch.UntypedStorage,
        lambda storage: sent.append(storage) or reduce(storage),
    )
    ForkingPickler.dumps(batch)
    assert len(sent) == 2


def test_batches_of_a_worker_are_packed() -> None:
    (batch,) = DataLoader(EXAMPLES, batch_size=2, collate_fn=collate_tree, num_workers=1)
    assert buffers(batch) == buffers(batch.to("meta")) == buffers(copy.deepcopy(batch)) == 2
    assert said(batch) == said(collate_tree(EXAMPLES))


@pytest.mark.parametrize("own", [{}, {"row_ids": torch.arange(4096)[3:5], "reference_logps": torch.arange(7)}])
def test_a_batch_is_saved(own: dict[str, Any]) -> None:
    batch, file = collate_tree(EXAMPLES)._replace(**own), io.BytesIO()
    torch.save([batch, batch.tree], file)
    file.seek(0)
    found, tree = torch.load(file, weights_only=False)
    assert said(found) == said(copy.copy(batch)) == said(batch)
    assert said(found._replace(tree=tree)) == said(batch)
    assert buffers(found) == buffers(batch)


def test_arrays_keep_their_types() -> None:
    given = {"a": np.arange(3), "b": np.arange(2, dtype=np.int32), "c": np.array([True]), "text": "x"}
    found = packed(given)
    assert found["text"] == "x"
    assert [str(each.dtype) for each in tensors(found)] == ["torch.int64", "torch.int32", "torch.bool"]
    assert [each.tolist() for each in tensors(found)] == [[0, 1, 2], [0, 1], [True]]
