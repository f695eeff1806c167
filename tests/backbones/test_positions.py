"""Positions at other sizes than the pretrained one: as transformers interpolates them, or as Meta's code does."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import transformers
from pydantic import ValidationError
from torch import nn

from peftcorr.backbones.dinov2 import Dinov2, Variant, scaled_positions
from peftcorr.recipe import resolve
from peftcorr.results.identity import run_id
from tests.backbones.parity import parity

SIZES = [(224, 224), (448, 448), (518, 518), (672, 672), (840, 840), (448, 672), (532, 518)]


class Narrow(Dinov2):
    """One block of DINOv2 over its own grid of 37 x 37 positions."""

    variant = Variant(16, 1, 2)


class Registers(Dinov2):
    variant = Variant(16, 1, 2, registers=4)


@pytest.fixture(scope="module")
def meta() -> ModuleType:
    return parity("meta")


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_features_over_positions_as_meta_scales_them(meta: ModuleType, height: int, width: int) -> None:
    assert meta.position_error(Narrow, height, width) <= meta.BOUND


@pytest.mark.parametrize("size", [224, 448, 672, 840])
def test_transformers_are_others(meta: ModuleType, size: int) -> None:
    """So the reference would see which of the two it is given."""
    assert meta.position_error(Narrow, size, size, "size") > 100 * meta.BOUND


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_positions_themselves(meta: ModuleType, height: int, width: int) -> None:
    """In every cell, those at the edges too."""
    trained = torch.randn((1, 1 + 37 * 37, 4), generator=torch.Generator().manual_seed(1))
    expected = meta.reference_positions(trained, height // 14, width // 14)
    found = scaled_positions(trained, height // 14, width // 14)
    assert torch.equal(found[:, :1], trained[:, :1])
    assert float((found[:, 1:] - expected).norm() / expected.norm()) <= meta.BOUND
    assert float((found[:, 1:] - expected).abs().max()) <= 5 * meta.BOUND


def test_the_default_is_transformers_own(meta: ModuleType) -> None:
    """Bit for bit, with and without registers, at a size that is interpolated."""
    image = torch.randn((1, 3, 224, 224), generator=torch.Generator().manual_seed(1))
    for cls in (Narrow, Registers):
        expected = meta.random_model(cls)(pixel_values=image).last_hidden_state
        found = cls(cls.Config(), meta.random_model(cls)).features(image).flatten(2).transpose(1, 2)
        assert torch.equal(found, expected[:, 1 + cls.variant.registers :])


def test_with_registers_both_are_one(meta: ModuleType) -> None:
    """Meta's release interpolates those to the size of the grid, antialiased; so does transformers."""
    model = meta.random_model(Registers)
    trained = model.embeddings.position_embeddings.detach()
    grid = trained[:, 1:].reshape(1, 37, 37, 16).permute(0, 3, 1, 2)
    smoothed = nn.functional.interpolate(grid, (16, 16), mode="bicubic", antialias=True).flatten(2).mT
    image = torch.randn((1, 3, 224, 224), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        first = model.embeddings.cls_token + trained[:, :1]
        patches = model.embeddings.patch_embeddings(image) + smoothed
        tokens = torch.cat([first, model.embeddings.register_tokens, patches], 1)
        for layer in model.encoder.layer:
            tokens = layer(tokens)
        expected = model.layernorm(tokens)[:, 5:]
        for positions in ("meta", "size"):
            config = Registers.Config.model_validate({"positions": positions})
            backbone = Registers(config, meta.random_model(Registers))
            found = backbone.features(image).flatten(2).transpose(1, 2)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_an_exported_model_has_the_same_features(meta: ModuleType, tmp_path: Path) -> None:
    """transformers reads no such option: it gets the positions of the size that the model is used at."""
    config = Narrow.Config.model_validate({"positions": "meta", "image_size": 224})
    backbone = Narrow(config, meta.random_model(Narrow))
    backbone.save_pretrained(tmp_path)
    plain = transformers.Dinov2Model.from_pretrained(tmp_path)
    image = torch.randn((1, 3, 224, 224), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = plain(pixel_values=image).last_hidden_state[:, 1:]
        expected = backbone.features(image).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def _run(**backbone: Any) -> str:
    recipe = resolve({"backbone": {"name": "dinov2_vits14", **backbone}}, [], None)
    return run_id(recipe.model_dump(mode="json"), {})


def test_they_are_two_runs() -> None:
    """The default is what it was before there was a choice, written or not."""
    assert _run() == _run(positions="size") != _run(positions="meta")
    assert "positions" not in Dinov2.Config().model_dump()
    with pytest.raises(ValidationError):
        Dinov2.Config.model_validate({"positions": "antialiased"})
