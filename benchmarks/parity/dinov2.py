"""DINOv2 ViT-S/14 of transformers against that of timm: ``python benchmarks/parity/dinov2.py``.

The same random weights, through this library's backbones (``dinov2_vits14`` and ``timm/vit_small_patch14_dinov2``);
nothing is downloaded. At 518 px, the size of pretraining, no position is interpolated. At other sizes both libraries
interpolate the 37 x 37 positions bicubically to the new grid, half-pixel centres aligned, but timm asks for
``antialias=True``, with which torch takes another cubic (a = -0.5, not -0.75) and smooths where the grid shrinks. The
last row, which says whether all else is the same, gives timm positions that transformers interpolated. (The positions
here are noise, which the two treat more differently than the smooth positions that training leaves.)
"""

from __future__ import annotations

import sys

import timm
import torch
import transformers
from torch import Tensor, nn

from peftcorr.backbones.base import Backbone
from peftcorr.backbones.dinov2 import Dinov2, Dinov2S14
from peftcorr.backbones.timm.vit import TimmVit

NAME = "vit_small_patch14_dinov2"
BOUND = 1e-4


def random_weights(model: nn.Module, seed: int = 0) -> None:
    """Make every parameter random: none at 0 or 1, so that no part could be left out unseen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("weight") and parameter.dim() > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            elif "norm" in name or "lambda" in name:
                parameter.copy_(1 + 0.3 * noise)
            else:
                parameter.copy_(0.3 * noise)


def as_timm(state: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """The tensors of transformers' DINOv2 under timm's names."""
    renamed = {
        "cls_token": state["embeddings.cls_token"],
        "pos_embed": state["embeddings.position_embeddings"],
    }
    for kind in ("weight", "bias"):
        renamed[f"patch_embed.proj.{kind}"] = state[f"embeddings.patch_embeddings.projection.{kind}"]
        renamed[f"norm.{kind}"] = state[f"layernorm.{kind}"]
        for index in range(depth):
            theirs, ours = f"encoder.layer.{index}", f"blocks.{index}"
            for layer, name in {
                "norm1": "norm1", "norm2": "norm2", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
                "attention.o_proj": "attn.proj",
            }.items():  # fmt: skip
                renamed[f"{ours}.{name}.{kind}"] = state[f"{theirs}.{layer}.{kind}"]
            renamed[f"{ours}.attn.qkv.{kind}"] = torch.cat(
                [state[f"{theirs}.attention.{role}_proj.{kind}"] for role in ("q", "k", "v")]
            )
    for index in range(depth):
        for number in (1, 2):
            scale = state[f"encoder.layer.{index}.layer_scale{number}.lambda1"]
            renamed[f"blocks.{index}.ls{number}.gamma"] = scale
    return renamed


def pair(
    cls: type[Dinov2], state: dict[str, Tensor], size: int, interpolated_by: str = "each"
) -> tuple[Backbone, Backbone]:
    """The same weights in a backbone of transformers and in one of timm, for images of `size` pixels.

    Args:
        cls: this library's DINOv2 of the shape that `state` has.
        state: the tensors of transformers' model.
        size: pixels a side.
        interpolated_by: ``each`` library, or ``transformers`` for both.
    """
    shape = cls.variant
    model_class, config = cls.architecture()
    model = model_class(config).eval()
    model.load_state_dict(state)
    grid = size // shape.patch
    renamed, native = as_timm(state, shape.depth), shape.pretrained_size
    if interpolated_by == "transformers":
        patches = torch.empty((1, grid * grid + 1, shape.width))
        renamed["pos_embed"] = model.embeddings.interpolate_pos_encoding(patches, size, size).detach()
        native = size
    other = timm.create_model(
        NAME,
        num_classes=0,
        dynamic_img_size=True,
        img_size=native,
        patch_size=shape.patch,
        embed_dim=shape.width,
        depth=shape.depth,
        num_heads=shape.heads,
    ).eval()
    other.load_state_dict(renamed)
    options = Backbone.Config(image_size=size)
    return cls(options, model), TimmVit(options, other)


def relative_error(one: Backbone, other: Backbone, size: int, seed: int = 1) -> float:
    """Norm of the difference of their features of a noise image, relative to that of the features."""
    image = torch.randn((1, 3, size, size), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected, found = one.features(image), other.features(image)
    assert expected.shape == found.shape
    return float((found - expected).norm() / expected.norm())


def random_state(cls: type[Dinov2], seed: int = 0) -> dict[str, Tensor]:
    """Random tensors of transformers' model of that shape."""
    model_class, config = cls.architecture()
    model = model_class(config)
    random_weights(model, seed)
    return dict(model.state_dict())


def main() -> int:
    """Print the errors; 1 if one that must be small is not."""
    state = random_state(Dinov2S14)
    print(f"transformers {transformers.__version__}, timm {timm.__version__}, torch {torch.__version__}")
    failed = False
    for size, interpolated_by, held in (
        (518, "each", True),
        (448, "each", False),
        (448, "transformers", True),
    ):
        error = relative_error(*pair(Dinov2S14, state, size, interpolated_by), size)
        failed |= held and error > BOUND
        note = f"<= {BOUND:g} required" if held else "their interpolations differ"
        print(f"{size} px, positions interpolated by {interpolated_by}: relative error {error:.1e} ({note})")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
