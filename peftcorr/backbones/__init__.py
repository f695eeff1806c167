"""Backbones: one contract over the models of several libraries, none of which is imported to name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peftcorr.backbones.identity import Weights
from peftcorr.registry import Registry

if TYPE_CHECKING:
    from peftcorr.backbones.base import Backbone, BlockSites, TokenState
else:

    def __getattr__(name: str) -> Any:
        """Import the contract, and torch with it, when it is first asked for."""
        if name not in ("Backbone", "BlockSites", "TokenState"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from peftcorr.backbones import base

        return getattr(base, name)


__all__ = ["BACKBONES", "Backbone", "BlockSites", "TokenState", "Weights"]

BACKBONES: Registry[Backbone] = Registry("backbone", "peftcorr.backbones", "peftcorr.backbones.base:Backbone")
for _name, _target, _summary in (
    ("dinov2_vits14", "dinov2:Dinov2S14", "DINOv2 ViT-S/14."),
    ("dinov2_vitb14", "dinov2:Dinov2B14", "DINOv2 ViT-B/14."),
    ("dinov2_vitl14", "dinov2:Dinov2L14", "DINOv2 ViT-L/14."),
    ("dinov2_vitg14", "dinov2:Dinov2G14", "DINOv2 ViT-g/14."),
    ("dinov2_vits14_reg", "dinov2:Dinov2S14Reg", "DINOv2 ViT-S/14 with registers."),
    ("dinov2_vitb14_reg", "dinov2:Dinov2B14Reg", "DINOv2 ViT-B/14 with registers."),
    ("dinov2_vitl14_reg", "dinov2:Dinov2L14Reg", "DINOv2 ViT-L/14 with registers."),
    ("dinov2_vitg14_reg", "dinov2:Dinov2G14Reg", "DINOv2 ViT-g/14 with registers."),
    ("dinov3_vits16", "dinov3:Dinov3ViTS16", "DINOv3 ViT-S/16."),
    ("dinov3_vits16plus", "dinov3:Dinov3ViTS16Plus", "DINOv3 ViT-S+/16: ViT-S with a gated MLP."),
    ("dinov3_vitb16", "dinov3:Dinov3ViTB16", "DINOv3 ViT-B/16."),
    ("dinov3_vitl16", "dinov3:Dinov3ViTL16", "DINOv3 ViT-L/16."),
    ("dinov3_vith16plus", "dinov3:Dinov3ViTH16Plus", "DINOv3 ViT-H+/16."),
    ("dinov3_vit7b16", "dinov3:Dinov3ViT7B16", "DINOv3 ViT-7B/16, the teacher of the others."),
    ("dinov3_convnext_tiny", "dinov3_convnext:Dinov3ConvNextTiny", "DINOv3 ConvNeXt-T."),
    ("dinov3_convnext_small", "dinov3_convnext:Dinov3ConvNextSmall", "DINOv3 ConvNeXt-S."),
    ("dinov3_convnext_base", "dinov3_convnext:Dinov3ConvNextBase", "DINOv3 ConvNeXt-B."),
    ("dinov3_convnext_large", "dinov3_convnext:Dinov3ConvNextLarge", "DINOv3 ConvNeXt-L."),
    ("sam_vitb", "sam:SamB", "SAM ViT-B/16."),
    ("sam_vitl", "sam:SamL", "SAM ViT-L/16."),
    ("sam_vith", "sam:SamH", "SAM ViT-H/16."),
    (
        "sd15",
        "diffusion.stable_diffusion:StableDiffusion15",
        "Stable Diffusion 1.5, 512 px (licence CreativeML Open RAIL-M).",
    ),
    (
        "sd21",
        "diffusion.stable_diffusion:StableDiffusion21",
        "Stable Diffusion 2.1, 768 px, with DIFT's settings (licence CreativeML Open RAIL++-M).",
    ),
    ("fusion", "fusion:Fusion", "Two or more backbones side by side."),
    (
        "tiny",
        "dinov2:Tiny",
        "The embedded ViT (192 wide, 6 deep, patch 8), pretrained without labels on rendered objects.",
    ),
    (
        "timm",
        "timm.model:Timm",
        "Any timm model with a feature map (option model, or timm/NAME as the backbone).",
    ),
):
    BACKBONES.lazy(_name, f"peftcorr.backbones.{_target}", _summary)
BACKBONES.family("timm/", "peftcorr.backbones.timm.model:named")
