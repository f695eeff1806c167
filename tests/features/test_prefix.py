"""What the frozen blocks make of an image is computed once, kept exactly, and used in any order."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from peftcorr.backbones.base import TokenState
from peftcorr.errors import PeftCorrError
from peftcorr.features.encode import Encoder
from peftcorr.features.prefix import PrefixStore
from tests.engine.building import load_split
from tests.small_folder import write_folder
from tests.small_models import Small, build

CPU = torch.device("cpu")


def state(count: int, start: int = 0) -> TokenState:
    """Tokens (count, 17, 32), each image's filled with its own number."""
    numbers = torch.arange(start, start + count).float()
    return TokenState(numbers.view(-1, 1, 1).expand(-1, 17, 32).clone(), 4, 4)


def test_states_come_back_in_the_order_asked_for() -> None:
    store = PrefixStore()
    store.put(["a", "b"], state(2))
    store.put(["c"], state(1, start=2))
    found = store.get(["c", "a", "c", "b"], CPU)
    assert found.tokens[:, 0, 0].tolist() == [2, 0, 2, 1]
    assert (found.height, found.width, found.tokens.shape) == (4, 4, (4, 17, 32))
    assert len(store) == 3


def test_a_state_is_kept_to_the_last_bit() -> None:
    tokens = torch.randn(2, 17, 32) * 1e-3
    store = PrefixStore()
    store.put(["a", "b"], TokenState(tokens, 4, 4))
    assert torch.equal(store.get(["a", "b"], CPU).tokens, tokens)
    halves = PrefixStore(torch.bfloat16)
    halves.put(["a", "b"], TokenState(tokens, 4, 4))
    assert torch.equal(halves.get(["a", "b"], CPU).tokens, tokens.bfloat16().float())


def test_what_is_missing_is_named_once() -> None:
    store = PrefixStore()
    store.put(["b"], state(1))
    assert list(store.missing(["c", "b", "a", "c"])) == ["c", "a"]


def test_a_full_disk_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    store = PrefixStore()
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(PeftCorrError, match=r"frozen blocks' output .*No space left on device.*TMPDIR"):
        store.put(["a"], state(1))
    monkeypatch.undo()
    store.put(["a"], state(1))
    assert torch.equal(store.get(["a"], CPU).tokens, state(1).tokens)


@pytest.mark.parametrize("first", [1, 2, 3])
def test_an_encoder_with_prefixes_gives_the_same_features(
    small_weights: Path, tmp_path: Path, first: int
) -> None:
    split = load_split(write_folder(tmp_path / "photographs"), tmp_path)
    backbone = build(Small, small_weights)
    plain, kept = Encoder(backbone), Encoder(backbone, first_trainable=first)
    store = PrefixStore()
    batches = [np.array(numbers) for numbers in ([0, 1, 2], [2, 2, 0], [5, 1], [7])]
    with torch.no_grad():
        for numbers in batches:
            expected = plain.features(split.data, split.store, numbers)
            found = kept.features(split.data, split.store, numbers, store)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert len(store) == 5
    assert plain.forwards == kept.forwards == 9


def test_gradients_stop_at_the_prefix(small_weights: Path, tmp_path: Path) -> None:
    split = load_split(write_folder(tmp_path / "photographs"), tmp_path)
    backbone = build(Small, small_weights).requires_grad_(True)
    encoder = Encoder(backbone, first_trainable=2)
    encoder.features(split.data, split.store, np.array([0, 1]), PrefixStore()).sum().backward()
    reached = [any(p.grad is not None for p in block.parameters()) for block in backbone.blocks()]
    assert reached == [False, False, True]
