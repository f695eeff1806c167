"""A small SAM in both packages that publish it, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import segment_anything.modeling as package
import torch
import transformers
from pydantic import Field
from torch import nn

from peftcorr.backbones.sam import Sam, Variant

SIZE = 128  # pixels: eight patches of 16 a side, which windows of 3 x 3 do not divide
M = TypeVar("M", bound=nn.Module)


class SmallSam(Sam):
    """SAM 32 wide and 4 deep, two of the blocks with windows."""

    class Config(Sam.Config):
        image_size: int = Field(default=SIZE, gt=0)

    variant = Variant(32, 4, 2, (1, 3), window=3, neck=16, pretrained_size=SIZE)


def randomised(model: M, seed: int = 0) -> M:
    """The model with every parameter random: SAM's own start has constant features and positions of zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.rand(parameter.shape, generator=generator) - 0.5
            is_scale = "norm" in name and name.endswith("weight")
            parameter.copy_(1 + noise if is_scale else 0.7 * noise)
    return model.eval()


def in_transformers(cls: type[Sam] = SmallSam) -> Any:
    """The whole model of transformers, prompt encoder and mask decoder included."""
    vision = cls.architecture()[1].to_dict()
    config = transformers.SamConfig(
        vision_config=vision | {"initializer_range": 0.02, "num_pos_feats": 8},
        prompt_encoder_config={"hidden_size": 16, "image_size": SIZE, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "num_hidden_layers": 1,
            "iou_head_hidden_dim": 16,
        },
    )  # fmt: skip
    return randomised(transformers.SamModel(config))


def package_encoder(cls: type[Sam] = SmallSam, size: int = SIZE) -> Any:
    """The encoder of the segment-anything package."""
    v = cls.variant
    encoder = package.ImageEncoderViT(
        img_size=size,
        embed_dim=v.width,
        depth=v.depth,
        num_heads=v.heads,
        out_chans=v.neck,
        norm_layer=lambda width: nn.LayerNorm(width, eps=1e-6),
        use_rel_pos=True,
        window_size=v.window,
        global_attn_indexes=v.global_blocks,
    )
    return randomised(encoder)


def in_package(cls: type[Sam] = SmallSam) -> Any:
    """The whole model of the segment-anything package."""
    neck, grid = cls.variant.neck, SIZE // 16
    two_way = package.TwoWayTransformer(depth=1, embedding_dim=neck, num_heads=2, mlp_dim=16)
    prompts = package.PromptEncoder(neck, (grid, grid), (SIZE, SIZE), mask_in_chans=4)
    decoder = package.MaskDecoder(transformer_dim=neck, transformer=two_way)
    return package.Sam(package_encoder(cls), prompts, decoder).eval()


def save_checkpoint(file: Path, cls: type[Sam] = SmallSam) -> Path:
    """Write a ``.pth`` as the package publishes it; returns the file."""
    torch.save(in_package(cls).state_dict(), file)
    return file


def load(path: Path, cls: type[Sam] = SmallSam, **options: Any) -> Sam:
    """Load a backbone from a folder or a checkpoint, ready to be evaluated."""
    config = cls.Config(**options)
    backbone = cls.build(config, cls.find_weights(config, path))
    backbone.eval()
    return backbone
