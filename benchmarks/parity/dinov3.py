"""DINOv3 ViT-S/16 of transformers against that of timm: ``python benchmarks/parity/dinov3.py``.

The same random weights under both libraries' names; nothing is downloaded. Rotary positions follow from the grid, so
that no size is special.
"""

from __future__ import annotations

import sys

import timm
import torch
import transformers
from torch import Tensor, nn

from peftcorr.backbones.dinov3 import Dinov3ViT, Dinov3ViTS16

BOUND = 1e-4

TIMM_NAMES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.patch_embeddings": "patch_embed.proj",
    "model.layer": "blocks",
    "attention.o_proj": "attn.proj",
    "layer_scale1.lambda1": "gamma_1",
    "layer_scale2.lambda1": "gamma_2",
    "mlp.down_proj": "mlp.fc2",
}


def timm_state(model: nn.Module, gated: bool) -> dict[str, Tensor]:
    """The weights of transformers' model under timm's names, with one matrix for q, k and v."""
    names = TIMM_NAMES | {"mlp.gate_proj": "mlp.fc1_g", "mlp.up_proj": "mlp.fc1_x" if gated else "mlp.fc1"}
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        for old, new in names.items():
            name = name.replace(old, new)
        name = name.replace("attention.q_proj.bias", "attn.q_bias")
        state[name.replace("attention.v_proj.bias", "attn.v_bias")] = tensor
    for key in [key for key in state if key.endswith("q_proj.weight")]:
        parts = [state.pop(key.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        state[key.replace("attention.q_proj", "attn.qkv")] = torch.cat(parts)
    return state


def random_weights(model: nn.Module) -> None:
    """Random, and of a gain near one, so that twelve full-size layers neither vanish nor saturate."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("lambda1") or ("norm" in name and name.endswith("weight")):
                parameter.copy_(0.5 + torch.rand_like(parameter))
            elif parameter.ndim > 1:
                parameter.copy_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(0.2 * torch.randn_like(parameter))


def relative_error(cls: type[Dinov3ViT], timm_name: str, height: int, width: int) -> float:
    """Norm of the difference between both libraries' patch features of a noise image, relative to that of timm's.

    Args:
        cls: this library's DINOv3.
        timm_name: timm's model of that shape; one without ``qkvb`` has no biases of q and v, which are then zero here.
        height, width: of the image, in pixels.
    """
    model_class, config = cls.architecture()
    model = model_class(config)
    random_weights(model)
    backbone = cls(cls.Config(), model).eval()
    state = timm_state(backbone.model, cls.variant.gated_mlp)
    if not timm_name.endswith("qkvb"):
        for name in [name for name in state if name.endswith(("q_bias", "v_bias"))]:
            state.pop(name)
        for layer in backbone.model.model.layer:
            layer.attention.q_proj.bias.zero_()
            layer.attention.v_proj.bias.zero_()
    reference = timm.create_model(timm_name, depth=cls.variant.depth).eval()
    reference.load_state_dict(state)
    image = torch.randn((1, 3, height, width), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference.forward_features(image)[:, reference.num_prefix_tokens :]
        features = backbone.features(image).flatten(2).transpose(1, 2)
    assert features.std() > 0.1
    return float((features - expected).norm() / expected.norm())


def main() -> int:
    """Print the errors; 1 if one is too large."""
    print(f"transformers {transformers.__version__}, timm {timm.__version__}, torch {torch.__version__}")
    failed = False
    for size in (512, 448):
        error = relative_error(Dinov3ViTS16, "vit_small_patch16_dinov3_qkvb", size, size)
        failed |= error > BOUND
        print(f"{size} px: relative error {error:.1e} (<= {BOUND:g} required)")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
