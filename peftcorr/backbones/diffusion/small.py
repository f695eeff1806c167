"""A small Stable Diffusion of the real classes of diffusers and transformers, with random weights."""

from __future__ import annotations

from types import SimpleNamespace

import transformers
from diffusers import AutoencoderKL, UNet2DConditionModel
from pydantic import Field

from peftcorr.backbones.base import Backbone
from peftcorr.backbones.diffusion.stable_diffusion import StableDiffusion, Variant
from peftcorr.backbones.randomised import randomised


class SmallDiffusion(StableDiffusion):
    """Four resolutions as the published ones, 16 to 32 wide."""

    class Config(StableDiffusion.Config):
        """Latents of 16 x 16, and 2 x 2 in the middle of the UNet."""

        image_size: int = Field(default=128, gt=0)
        ensemble: int = Field(default=2, ge=1)

    variant = Variant(
        unet={
            "block_out_channels": (16, 24, 32, 32),
            "norm_num_groups": 8,
            "cross_attention_dim": 24,
            "attention_head_dim": 2,
            "use_linear_projection": False,
        },
        text={
            "vocab_size": 60,
            "hidden_size": 24,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "bos_token_id": 58,
            "eos_token_id": 59,
            "max_position_embeddings": 32,
        },
        pad_token="!",
        vae={"block_out_channels": (4, 8, 8, 8), "norm_num_groups": 4, "scaling_factor": 0.5},
    )


class _Letters:
    """A tokenizer without files: one token a letter."""

    def __call__(self, prompt: str) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[58, *(ord(letter) % 58 for letter in prompt[:28]), 59])

    def get_vocab(self) -> dict[str, int]:
        return {}

    def convert_tokens_to_ids(self, token: str) -> int:
        return ord(token) % 58


def small_diffusion() -> Backbone:
    """A small pipeline, frozen and evaluating."""
    unet, vae, text = SmallDiffusion.settings()
    backbone = SmallDiffusion(
        SmallDiffusion.Config(),
        randomised(UNet2DConditionModel(**unet)),
        randomised(AutoencoderKL(**vae)),
        randomised(transformers.CLIPTextModel(transformers.CLIPTextConfig(**text))),
        _Letters(),
    )
    return backbone.requires_grad_(False).eval()
