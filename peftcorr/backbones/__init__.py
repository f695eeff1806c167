"""Backbones: one contract over the models of several libraries."""

from peftcorr.backbones.base import BACKBONES, Backbone, BlockSites, TokenState, Weights

_DINOV2 = "peftcorr.backbones.dinov2"
for _size, _name in (("s", "S"), ("b", "B"), ("l", "L"), ("g", "G")):
    BACKBONES.lazy(f"dinov2_vit{_size}14", f"{_DINOV2}:Dinov2{_name}14")
    BACKBONES.lazy(f"dinov2_vit{_size}14_reg", f"{_DINOV2}:Dinov2{_name}14Reg")
for _version in ("15", "21"):
    BACKBONES.lazy(f"sd{_version}", f"peftcorr.backbones.stable_diffusion:StableDiffusion{_version}")
BACKBONES.lazy("fusion", "peftcorr.backbones.fusion:Fusion")
BACKBONES.lazy("tiny", f"{_DINOV2}:Tiny")

__all__ = ["BACKBONES", "Backbone", "BlockSites", "TokenState", "Weights"]
