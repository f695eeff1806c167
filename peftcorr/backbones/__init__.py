"""Backbones: one contract over the models of several libraries."""

from peftcorr.backbones.base import BACKBONES, Backbone, BlockSites, TokenState, Weights

_DINOV2 = "peftcorr.backbones.dinov2"
for _size, _name in (("s", "S"), ("b", "B"), ("l", "L"), ("g", "G")):
    BACKBONES.lazy(f"dinov2_vit{_size}14", f"{_DINOV2}:Dinov2{_name}14")
    BACKBONES.lazy(f"dinov2_vit{_size}14_reg", f"{_DINOV2}:Dinov2{_name}14Reg")
BACKBONES.lazy("tiny", f"{_DINOV2}:Tiny")
BACKBONES.lazy("timm", "peftcorr.backbones.timm_model:Timm")
BACKBONES.family("timm/", "peftcorr.backbones.timm_model:named")

__all__ = ["BACKBONES", "Backbone", "BlockSites", "TokenState", "Weights"]
