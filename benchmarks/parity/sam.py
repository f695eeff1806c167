"""SAM ViT-B at full size against the segment-anything package: ``python benchmarks/parity/sam.py``.

Random weights go through a checkpoint as the package publishes it, so nothing is downloaded. Prints, at 1024 pixels and
at 512, the error of the neck's features relative to the package's own (norm of the difference over norm). The package
knows no size but 1024: at 512 its encoder gets positions that were resized by weights written out here.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from peftcorr.backbones.sam import SamB

TOLERANCE = 1e-4
_PATCH = 16


def randomise(model: nn.Module) -> None:
    """Every parameter random: SAM's own start has positions of zero and norms that do nothing."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                scale = 0.3 if "pos" in name else parameter[0].numel() ** -0.5
                parameter.copy_(scale * noise)
            else:
                parameter.copy_(0.1 * noise + (1 if name.endswith("weight") else 0))


def encoder(size: int) -> Any:
    """The package's ViT-B for images of `size` pixels."""
    variant = SamB.variant
    return ImageEncoderViT(
        img_size=size,
        embed_dim=variant.width,
        depth=variant.depth,
        num_heads=variant.heads,
        norm_layer=lambda width: nn.LayerNorm(width, eps=1e-6),
        use_rel_pos=True,
        window_size=variant.window,
        global_attn_indexes=variant.global_blocks,
    ).eval()


def resizing(old: int, new: int, cubic: bool) -> Tensor:
    """Weights (new, old) of linear interpolation, or of Keys's cubic with a = -3/4, at half-pixel centres."""
    weights = torch.zeros((new, old), dtype=torch.float64)
    for row in range(new):
        centre = (row + 0.5) * old / new - 0.5
        for place in range(int(centre) - 3, int(centre) + 5):
            d = abs(centre - place)
            if not cubic:
                weight = max(0.0, 1 - d)
            elif d <= 1:
                weight = 1.25 * d**3 - 2.25 * d**2 + 1
            else:
                weight = -0.75 * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0
            weights[row, min(max(place, 0), old - 1)] += weight
    return weights


def resized(state: dict[str, Tensor], size: int) -> dict[str, Tensor]:
    """The encoder's tensors with positions of the whole image resized to the grid of `size` pixels."""
    trained, grid = SamB.variant.pretrained_size // _PATCH, size // _PATCH
    cubic = resizing(trained, grid, cubic=True)
    linear = resizing(2 * trained - 1, 2 * grid - 1, cubic=False)
    state = dict(state)
    state["pos_embed"] = torch.einsum("ih,jw,bhwc->bijc", cubic, cubic, state["pos_embed"].double()).float()
    for block in SamB.variant.global_blocks:
        for axis in "hw":
            key = f"blocks.{block}.attn.rel_pos_{axis}"
            state[key] = (linear @ state[key].double()).float()
    return state


@torch.no_grad()
def relative_error(checkpoint: Path, state: dict[str, Tensor], size: int) -> float:
    """Of one image's features, ours against the package's."""
    reference = encoder(size)
    reference.load_state_dict(resized(state, size) if size != SamB.variant.pretrained_size else state)
    config = SamB.Config(image_size=size)
    backbone = SamB.build(config, SamB.find_weights(config, checkpoint)).eval()
    image = torch.randn((1, 3, size, size), generator=torch.Generator().manual_seed(1))
    expected = reference(image)
    difference = backbone.features(image) - expected
    if float(expected.std(dim=(0, 2, 3)).min()) < 1e-2:
        raise SystemExit("The features are all but constant: agreement would say nothing.")
    return float(difference.norm() / expected.norm())


def main() -> None:
    """Compare at both sizes; exits with 1 where they differ."""
    model = sam_model_registry["vit_b"]()
    randomise(model)
    state = model.image_encoder.state_dict()
    errors = {}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "sam_vit_b.pth"
        torch.save(model.state_dict(), checkpoint)
        for size in (SamB.variant.pretrained_size, 512):
            errors[size] = relative_error(checkpoint, state, size)
            print(f"SAM ViT-B neck, {size} px: relative error {errors[size]:.2e} (allowed {TOLERANCE:.0e})")
    raise SystemExit(int(not all(error <= TOLERANCE for error in errors.values())))


if __name__ == "__main__":
    main()
