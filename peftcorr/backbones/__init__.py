"""Backbones: one contract over the models of several libraries."""

from peftcorr.backbones.base import BACKBONES, Backbone, BlockSites, TokenState
from peftcorr.backbones.identity import Weights

_DINOV2 = "peftcorr.backbones.dinov2"
for _size, _name in (("s", "S"), ("b", "B"), ("l", "L"), ("g", "G")):
    BACKBONES.lazy(f"dinov2_vit{_size}14", f"{_DINOV2}:Dinov2{_name}14")
    BACKBONES.lazy(f"dinov2_vit{_size}14_reg", f"{_DINOV2}:Dinov2{_name}14Reg")
for _size in ("s16", "s16plus", "b16", "l16", "h16plus", "7b16"):
    BACKBONES.lazy(f"dinov3_vit{_size}", f"peftcorr.backbones.dinov3:Dinov3ViT{_size.title()}")
for _size in ("tiny", "small", "base", "large"):
    BACKBONES.lazy(
        f"dinov3_convnext_{_size}", f"peftcorr.backbones.dinov3_convnext:Dinov3ConvNext{_size.title()}"
    )
for _version in ("15", "21"):
    BACKBONES.lazy(
        f"sd{_version}", f"peftcorr.backbones.diffusion.stable_diffusion:StableDiffusion{_version}"
    )
BACKBONES.lazy("fusion", "peftcorr.backbones.fusion:Fusion")
BACKBONES.lazy("tiny", f"{_DINOV2}:Tiny")
for _size in ("b", "l", "h"):
    BACKBONES.lazy(f"sam_vit{_size}", f"peftcorr.backbones.sam:Sam{_size.upper()}")
BACKBONES.lazy("timm", "peftcorr.backbones.timm.model:Timm")
BACKBONES.family("timm/", "peftcorr.backbones.timm.model:named")

__all__ = ["BACKBONES", "Backbone", "BlockSites", "TokenState", "Weights"]
