"""Small models of timm's own classes, registered with timm, and folders of random weights of them."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from timm.layers import SwiGLUPacked
from timm.models import generate_default_cfgs, register_model
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import ParallelThingsBlock, ResPostBlock, VisionTransformer
from torch import nn

from peftcorr.backbones import BACKBONES
from peftcorr.backbones.base import Backbone

_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}
_NOISY = {"drop_path_rate": 0.5, "proj_drop_rate": 0.3, "attn_drop_rate": 0.3, "pos_drop_rate": 0.3}
_ROPE = {
    **_VIT, "use_abs_pos_emb": False, "use_rot_pos_emb": True, "use_fc_norm": False, "init_values": 0.1,
}  # fmt: skip
_CFG = {"input_size": (3, 32, 32), "fixed_input_size": True, "classifier": "head", "num_classes": 10}

default_cfgs = generate_default_cfgs(
    {
        "small_vit.one": {
            **_CFG, "hf_hub_id": "timm/", "license": "mit", "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6),
        },
        "small_vit.two": {**_CFG, "hf_hub_id": "somebody/else"},
        **{
            f"small_{name}": dict(_CFG)
            for name in (
                "scaled", "registers", "pooled", "distilled", "gated", "post", "parallel",
                "eva", "dinov3", "mixed", "eva_post", "swin", "swin_v2",
            )
        },
    }
)  # fmt: skip


def _entry(name: str, cls: type[nn.Module], **model_args: Any) -> None:
    # By timm's convention the filter that resamples positions is a function of the class's module.
    filter_fn = getattr(sys.modules[cls.__module__], "checkpoint_filter_fn", None)

    def entry(pretrained: bool = False, **options: Any) -> nn.Module:
        options = {**model_args, **options}
        build = timm.models.build_model_with_cfg
        model: nn.Module = build(cls, f"small_{name}", pretrained, pretrained_filter_fn=filter_fn, **options)
        return model

    entry.__name__ = f"small_{name}"
    register_model(entry)


_entry("vit", VisionTransformer, **_VIT)
_entry("scaled", VisionTransformer, **_VIT, init_values=0.1, **_NOISY)
_entry("registers", VisionTransformer, **_VIT, reg_tokens=4, no_embed_class=True)
_entry("pooled", VisionTransformer, **_VIT, class_token=False, global_pool="avg")
_entry("distilled", VisionTransformerDistilled, **_VIT)
_entry("gated", VisionTransformer, **_VIT, mlp_layer=SwiGLUPacked, qkv_bias=False, global_pool="map")
_entry("post", VisionTransformer, **_VIT, block_fn=ResPostBlock)
_entry("parallel", VisionTransformer, **_VIT, block_fn=ParallelThingsBlock)
_entry("eva", Eva, **{**_ROPE, "use_abs_pos_emb": True}, swiglu_mlp=True, scale_mlp=True, **_NOISY)
_entry(
    "dinov3", Eva, **_ROPE, rope_type="dinov3", num_reg_tokens=4, rope_shift_coords=0.2,
    rope_jitter_coords=2.0, rope_rescale_coords=2.0, **_NOISY,
)  # fmt: skip
_entry("mixed", Eva, **_ROPE, rope_type="mixed", attn_type="rope", rope_temperature=10.0)
_entry("eva_post", Eva, **_VIT, use_post_norm=True, qkv_fused=False)
_entry(
    "swin", SwinTransformer, img_size=32, patch_size=2, window_size=4, embed_dim=16, depths=(2, 2),
    num_heads=(2, 4),
)  # fmt: skip

_entry(
    "swin_v2", SwinTransformerV2, img_size=32, patch_size=2, window_size=4, embed_dim=16, depths=(2, 2),
    num_heads=(2, 4),
)  # fmt: skip

SERIAL = ("vit", "scaled", "registers", "pooled", "distilled", "gated", "eva", "dinov3", "mixed")
"""Those whose every block is a residual stream to which attention and MLP add."""
PLAIN = (*SERIAL, "post", "parallel", "eva_post")


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Make every parameter, and every running statistic, random: none at 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    random = partial(torch.rand, generator=generator)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and name.endswith("weight"):
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            elif name.endswith("gain") or (parameter.dim() == 1 and not name.endswith("bias")):
                parameter.copy_(0.5 + random(parameter.shape))
            else:
                parameter.copy_(random(parameter.shape) - 0.5)
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(0.5 + random(buffer.shape))
            elif name.endswith("running_mean"):
                buffer.copy_(random(buffer.shape) - 0.5)


def reference(name: str, seed: int = 0, **options: Any) -> Any:
    """The model as timm makes it, random, in evaluation mode."""
    model = timm.create_model(name, num_classes=0, **options)
    randomise(model, seed)
    return model.eval()


def save(name: str, folder: Path, seed: int = 0, **options: Any) -> Path:
    """Write random weights as timm's repositories hold them; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        key: tensor.contiguous() for key, tensor in reference(name, seed, **options).state_dict().items()
    }
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": name}))
    return folder


def load(name: str, folder: Path, **options: Any) -> Any:
    """The backbone ``timm/NAME`` with the weights of a folder, in evaluation mode."""
    cls = BACKBONES.get(f"timm/{name}")
    config = cls.Config(**options)
    backbone: Backbone = cls.build(config, cls.find_weights(config, folder))
    return backbone.eval()
