"""Exported backbones are read by the plain classes of transformers, and give the same features there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from torch import Tensor

from peftcorr.backbones import Backbone
from peftcorr.data.frame import resize
from peftcorr.errors import PeftCorrError
from peftcorr.strategies.base import apply_checked
from peftcorr.strategies.lora import Lora
from tests import small_models
from tests.backbones import test_dinov3, test_dinov3_convnext
from tests.backbones.small_sam import SmallSam, in_transformers, load
from tests.backbones.timm import timm_models
from tests.small_models import Small, save_weights


def dinov3(folder: Path, **options: object) -> Backbone:
    from tests.backbones.test_dinov3 import Plain

    weights = save_weights(Plain, folder)  # type: ignore[arg-type]
    return test_dinov3.load(Plain, weights, **options)


def dinov2(folder: Path, **options: object) -> Backbone:
    return small_models.build(Small, save_weights(Small, folder))


def plain_dinov3(folder: Path, pictures: Tensor) -> Tensor:
    tokens = transformers.DINOv3ViTModel.from_pretrained(folder)(pixel_values=pictures).last_hidden_state
    patches = tokens[:, 1 + 4 :]
    return patches.transpose(1, 2).reshape(len(pictures), 32, 4, 4)


def sam(folder: Path, **options: object) -> Backbone:
    in_transformers().save_pretrained(folder)
    return load(folder, SmallSam, **options)


def plain_sam(folder: Path, pictures: Tensor) -> Tensor:
    found: Tensor = transformers.SamVisionModel.from_pretrained(folder)(pictures).last_hidden_state
    return found


def convnext(folder: Path, **options: object) -> Backbone:
    test_dinov3_convnext.reference().save_pretrained(folder)  # type: ignore[operator]
    return test_dinov3_convnext.load(folder, **options)


def plain_convnext(folder: Path, pictures: Tensor) -> Tensor:
    tokens = transformers.DINOv3ConvNextModel.from_pretrained(folder)(pictures).last_hidden_state[:, 1:]
    return tokens.transpose(1, 2).reshape(len(pictures), -1, 2, 2)


@pytest.mark.parametrize(
    ("make", "read", "size", "targets", "options"),
    [
        (dinov3, plain_dinov3, 32, ["q", "v", "fc1"], {}),
        (dinov3, plain_dinov3, 32, ["q", "v"], {"layer": 2}),
        (sam, plain_sam, 128, ["q", "v", "fc2"], {}),
        (sam, plain_sam, 128, ["v"], {"layer": 3}),
        (convnext, plain_convnext, 64, ["fc1", "fc2"], {}),
    ],
)
def test_a_merged_lora_is_read_by_transformers(
    tmp_path: Path,
    make: Callable[..., Backbone],
    read: Callable[[Path, Tensor], Tensor],
    size: int,
    targets: list[str],
    options: dict[str, object],
) -> None:
    backbone = make(tmp_path / "pretrained", **options)
    pictures = torch.randn((2, 3, size, size), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = backbone.features(pictures)
    strategy = Lora(Lora.Config(rank=2, targets=targets))
    apply_checked(strategy, backbone)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.3 * torch.randn_like(parameter))
        backbone.eval()
        adapted = backbone.features(pictures)
        strategy.merge(backbone)
        (tmp_path / "exported").mkdir()
        backbone.save_pretrained(tmp_path / "exported")
        plain = read(tmp_path / "exported", pictures)
    assert (adapted - before).norm() / before.norm() > 1e-2
    assert (plain - adapted).norm() / adapted.norm() < 1e-4


@pytest.mark.parametrize(
    ("name", "size"),
    [("small_scaled", 32), ("small_scaled", 48), ("small_gated", 32), ("small_dinov3", 32), ("small_eva", 32),
     ("small_swin", 32), ("small_mixed", 32), ("small_pooled", 32)],
)  # fmt: skip
def test_a_merged_lora_is_read_by_timm(tmp_path: Path, name: str, size: int) -> None:
    backbone = timm_models.load(name, timm_models.save(name, tmp_path / "pretrained"), image_size=size)
    pictures = torch.randn((2, 3, size, size), generator=torch.Generator().manual_seed(0))
    strategy = Lora(Lora.Config(rank=2))
    apply_checked(strategy, backbone)
    torch.manual_seed(0)
    with torch.no_grad():
        before = backbone.features(pictures)
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.3 * torch.randn_like(parameter))
        adapted = backbone.features(pictures)
        strategy.merge(backbone)
        (tmp_path / "exported").mkdir()
        backbone.save_pretrained(tmp_path / "exported")
        plain = timm.create_model(f"local-dir:{tmp_path / 'exported'}", pretrained=True).eval()
        found = plain.forward_features(pictures)
    if name == "small_swin":
        found = found.permute(0, 3, 1, 2)
    else:
        found = found[:, plain.num_prefix_tokens :].transpose(1, 2).reshape(adapted.shape)
    assert (adapted - before).norm() / before.norm() > 1e-2
    assert (found - adapted).norm() / adapted.norm() < 1e-4


@pytest.mark.parametrize(
    ("make", "options"), [(sam, {"feature": "trunk"}), (convnext, {"layer": 3})], ids=["trunk", "layer"]
)
def test_what_transformers_has_no_class_for(
    tmp_path: Path, make: Callable[..., Backbone], options: dict[str, object]
) -> None:
    backbone = make(tmp_path / "pretrained", **options)
    with pytest.raises(PeftCorrError, match="cannot be exported"):
        backbone.save_pretrained(tmp_path)


def photograph(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)


def preprocessed(backbone: Backbone, picture: np.ndarray) -> Tensor:
    square = resize(picture, backbone.config.image_size)
    return backbone.preprocess(torch.tensor(square).permute(2, 0, 1)[None])


@pytest.mark.parametrize("make", [dinov2, dinov3, sam, convnext])
def test_the_image_processor_gives_what_the_backbone_was_given(
    tmp_path: Path, make: Callable[..., Backbone]
) -> None:
    backbone = make(tmp_path / "pretrained")
    (tmp_path / "exported").mkdir()
    backbone.save_pretrained(tmp_path / "exported")
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "exported")
    size = backbone.config.image_size
    found = processor(Image.fromarray(photograph(size, size)), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(found, preprocessed(backbone, photograph(size, size)), rtol=0, atol=1e-5)
    # Another resampling of the same kind: a few of 256 steps of brightness, where another filter differs by fifty.
    other = processor(Image.fromarray(photograph(2 * size, size)), return_tensors="pt")["pixel_values"]
    assert (other - preprocessed(backbone, photograph(2 * size, size))).abs().max() < 0.05


def test_a_padded_image_is_only_normalised(tmp_path: Path) -> None:
    """transformers has no processor that pads as we do: it must not stretch instead."""
    cls = Small
    backbone = cls.build(
        cls.Config(resize="pad"), cls.find_weights(cls.Config(), save_weights(Small, tmp_path / "pretrained"))
    )
    (tmp_path / "exported").mkdir()
    backbone.save_pretrained(tmp_path / "exported")
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "exported")
    found = processor(Image.fromarray(photograph(48, 40)), return_tensors="pt")["pixel_values"]
    assert found.shape == (1, 3, 48, 40)


@pytest.mark.parametrize(
    ("name", "size"), [("small_vit", 48), ("small_swin", 32), ("test_resnet", 96), ("test_convnext", 64)]
)
def test_timms_transform_gives_what_the_backbone_was_given(tmp_path: Path, name: str, size: int) -> None:
    backbone = timm_models.load(name, timm_models.save(name, tmp_path / "pretrained"), image_size=size)
    (tmp_path / "exported").mkdir()
    backbone.save_pretrained(tmp_path / "exported")
    plain = timm.create_model(f"local-dir:{tmp_path / 'exported'}", pretrained=True)
    options = timm.data.resolve_model_data_config(plain)
    assert (tuple(options["mean"]), tuple(options["std"])) == (backbone.mean, backbone.std)
    assert tuple(options["input_size"]) == (3, size, size)
    transform = timm.data.create_transform(**options)
    picture = photograph(2 * size, size + 7)
    found = transform(Image.fromarray(picture))[None]
    torch.testing.assert_close(found, preprocessed(backbone, picture), rtol=0, atol=1e-5)
