"""Features that depend on the category: said to the backbone before each batch, and to every cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from peftcorr.backbones.base import TokenState
from peftcorr.data.correspondences import Correspondences
from peftcorr.features.encode import Encoder
from peftcorr.features.identity import image_keys
from peftcorr.features.prefix import PrefixStore
from tests.engine.building import load_split
from tests.small_folder import write_folder
from tests.small_models import Small, build


class Named(Small):
    """Shifts its stream by the length of the category's name."""

    uses_categories = True
    categories: Sequence[str] = ()

    def condition(self, categories: Sequence[str]) -> None:
        self.categories = categories

    def prefix(self, images: Tensor, k: int) -> TokenState:
        state = super().prefix(images, 0)
        assert len(self.categories) == len(images)
        # On every other channel: the norms of the blocks take out what all have in common.
        shift = torch.zeros(len(images), 1, state.tokens.shape[-1])
        shift[..., ::2] = torch.tensor([[[float(len(category))]] for category in self.categories])
        tokens = state.tokens + shift
        for block in self.blocks()[:k]:
            tokens = block(tokens)
        return replace(state, tokens=tokens)


class Deaf(Named):
    """Would shift, but does not look at categories."""

    uses_categories = False

    def prefix(self, images: Tensor, k: int) -> TokenState:
        assert not self.categories
        return Small.prefix(self, images, k)


def twice(data: Correspondences) -> Correspondences:
    """Images 1 and 2 are the file of image 0, in two categories."""
    images, categories = list(data.images), list(data.categories)
    sizes = list(data.sizes)
    images[1] = images[2] = images[0]
    sizes[1] = sizes[2] = sizes[0]
    categories[1], categories[2] = "aeroplane", categories[0]
    return replace(data, images=images, categories=categories, sizes=sizes)


@pytest.mark.parametrize("cls", [Named, Deaf])
def test_one_file_in_two_categories(small_weights: Path, tmp_path: Path, cls: type[Named]) -> None:
    split = load_split(write_folder(tmp_path / "photographs"), tmp_path)
    data, backbone = twice(split.data), build(cls, small_weights)
    plain, kept, store = Encoder(backbone), Encoder(backbone, first_trainable=2), PrefixStore()
    for numbers in ([0, 1], [1, 2, 3], [4, 0]):
        with torch.no_grad():
            whole = plain.features(data, split.store, np.array(numbers))
            found = kept.features(data, split.store, np.array(numbers), store)
        torch.testing.assert_close(found, whole)
    with torch.no_grad():
        bird, plane, again = kept.features(data, split.store, np.array([0, 1, 2]), store)
    assert torch.equal(bird, again)
    assert torch.equal(bird, plane) == (cls is Deaf)
    assert len(store) == (
        3 if cls is Deaf else 4
    )  # images 0 and 2 are one; 1 is another where categories count


def test_cached_features_are_of_one_category(small_weights: Path, tmp_path: Path) -> None:
    split = load_split(write_folder(tmp_path / "photographs"), tmp_path)
    keys = image_keys(twice(split.data), split.store, np.arange(3))
    assert keys[0].key == keys[2].key != keys[1].key
