"""Padding: black before normalising, or 0 after it where a backbone's own code does so, wherever images are encoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.base import Backbone
from peftcorr.backbones.fusion import Fusion
from peftcorr.data.correspondences import Correspondences
from peftcorr.data.images import ImageStore, decode
from peftcorr.features.encode import Encoder
from peftcorr.features.prefix import PrefixStore
from tests.backbones.small_sam import SIZE, SmallSam, in_package, save_checkpoint
from tests.backbones.small_sam import load as load_sam
from tests.engine.building import Split, load_split
from tests.small_folder import write_folder
from tests.small_models import Small, save_weights

NUMBERS = np.array([0, 1, 2])


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    folder = tmp_path_factory.mktemp("photographs")
    loaded = load_split(write_folder(folder / "data"), folder)
    assert any(width != height for width, height in loaded.data.sizes[:3])
    return loaded


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("weights") / "sam.pth")


@pytest.fixture
def padded(split: Split) -> ImageStore:
    return ImageStore(split.store.image_root, SIZE, "pad")


def by_the_package(data: Correspondences, store: ImageStore) -> Tensor:
    """What the segment-anything package makes of the resized pictures: it normalises, then pads with zeros."""
    package = in_package()
    package.pixel_mean = torch.tensor([123.675, 116.28, 103.53]).view(-1, 1, 1)
    package.pixel_std = torch.tensor([58.395, 57.12, 57.375]).view(-1, 1, 1)
    made = []
    for number in NUMBERS:
        picture = decode(store.image_root / data.images[number])
        width, height = store.frame(data.images[number]).extent
        small = np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
        made.append(package.preprocess(torch.from_numpy(small).permute(2, 0, 1)))
    return torch.stack(made)


def test_sam_pads_after_normalising(split: Split, checkpoint: Path, padded: ImageStore) -> None:
    """As its package does; and so it reaches the features, a state that is kept, and what an augmentation changed."""
    backbone = load_sam(checkpoint, resize="pad")
    expected = by_the_package(split.data, padded)
    assert (
        float(expected[:, :, -1].abs().sum() + expected[..., -1].abs().sum()) > 0
    )  # one is square or tall or wide
    plain = Encoder(backbone)
    torch.testing.assert_close(plain.images(split.data, padded, NUMBERS), expected)
    ahead = plain.load(split.data, padded, NUMBERS)
    torch.testing.assert_close(plain.images(split.data, padded, NUMBERS, ahead), expected)
    with torch.no_grad():
        features = plain.features(split.data, padded, NUMBERS)
        torch.testing.assert_close(features, backbone.features(expected))
        kept = Encoder(backbone, first_trainable=2).features(split.data, padded, NUMBERS, PrefixStore())
        torch.testing.assert_close(kept, features)
    brighter = Encoder(backbone, augment=lambda image, number: image // 2 + 100)
    changed = brighter.images(split.data, padded, NUMBERS)
    assert torch.equal(changed == 0, expected == 0)


def test_without_padding_nothing_changes(split: Split, checkpoint: Path) -> None:
    stretched = ImageStore(split.store.image_root, SIZE)
    backbone = load_sam(checkpoint)
    raw = stretched.get([split.data.images[n] for n in NUMBERS], [split.data.sizes[n] for n in NUMBERS])
    found = Encoder(backbone).images(split.data, stretched, NUMBERS)
    assert torch.equal(found, backbone.preprocess(raw))


@pytest.fixture
def _names() -> Iterator[None]:
    before = dict(BACKBONES._entries)
    BACKBONES.register("small_sam")(SmallSam)
    yield
    BACKBONES._entries.clear()
    BACKBONES._entries.update(before)


class Watched:
    """Notes what a backbone's first block is computed from."""

    def __init__(self, backbone: Any):
        self.seen: list[Tensor] = []
        enter = backbone._enter
        backbone._enter = lambda images: (self.seen.append(images.clone()), enter(images))[1]


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize("size", [SIZE, 2 * SIZE])
def test_every_part_of_a_fusion_pads_in_its_way(
    split: Split, checkpoint: Path, padded: ImageStore, tmp_path: Path, size: int
) -> None:
    """Black is the first part's padding, 0 the second's, at its own size too."""
    save_weights(Small, tmp_path / "small")
    parts = [
        {"name": "small", "weights": str(tmp_path / "small"), "image_size": SIZE},
        {"name": "small_sam", "weights": str(checkpoint), "image_size": size},
    ]
    config = Fusion.Config.model_validate({"parts": parts, "resize": "pad", "image_size": SIZE})
    backbone = Fusion.build(config, Fusion.find_weights(config, None)).eval()
    small, sam = (Watched(part) for part in backbone.parts)
    with torch.no_grad():
        Encoder(backbone).features(split.data, padded, NUMBERS)
        backbone.features(torch.zeros(1, 3, SIZE, SIZE))  # of these nobody said how far they reach
    first, second, ratio = small.seen[0], sam.seen[0], size // SIZE
    black = -torch.tensor(Backbone.mean) / torch.tensor(Backbone.std)
    seen = 0
    for row, number in enumerate(NUMBERS):
        width, height = padded.frame(split.data.images[number]).extent
        for image, value, scale in ((first, black, 1), (second, torch.zeros(3), ratio)):
            inner = 2 * (scale - 1)  # resizing blends the edge over a pixel or two
            beyond = torch.cat(
                [
                    image[row, :, height * scale + inner :].flatten(1),
                    image[row, :, :, width * scale + inner :].flatten(1),
                ],
                1,
            )
            torch.testing.assert_close(beyond, value[:, None].expand_as(beyond), rtol=0, atol=1e-5)
            seen += beyond.shape[1]
    assert seen > 0
    if ratio == 1:
        torch.testing.assert_close(second, by_the_package(split.data, padded), rtol=1e-5, atol=1e-5)
