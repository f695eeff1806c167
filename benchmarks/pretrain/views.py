"""Two random views of a picture, and where each patch of one lies in the other.

The correspondence follows from the crops themselves, which are affine maps chosen here; nothing of the rendered
scene is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.settings import Crops

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Views:
    """A batch of pictures, each seen twice.

    Attributes:
        first: (B, 3, S, S), normalised for the backbone.
        second: likewise.
        overlap: (B, P, P), share of each patch of the second view in the bilinear weight of each patch centre
            of the first; rows of patches that the second view does not contain are zero.
    """

    first: Tensor
    second: Tensor
    overlap: Tensor


class Draw:
    """Uniform numbers from one generator, on one device."""

    def __init__(self, seed: int, count: int):
        self.generator = torch.Generator().manual_seed(seed)
        self.count = count

    def uniform(self, low: float, high: float) -> Tensor:
        """(B,) uniform numbers."""
        return torch.rand(self.count, generator=self.generator) * (high - low) + low

    def chance(self, probability: float) -> Tensor:
        """(B,) truths."""
        return torch.rand(self.count, generator=self.generator) < probability

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers in the shape of ``like``."""
        return torch.randn(like.shape, generator=self.generator)


def two_views(pictures: Tensor, size: int, patch: int, crops: Crops, seed: int) -> Views:
    """Cut and recolour two views of each picture.

    Args:
        pictures: (B, 2, 3, H, W) in [0, 1], the same shapes in two looks.
        size: side of the views in pixels.
        patch: side of a patch in pixels.
        crops: the ranges of everything random.
        seed: of every choice.
    """
    draw = Draw(seed, len(pictures))
    mirrored = draw.chance(0.5)
    also_mirrored = draw.chance(0.5) if crops.flip_apart else mirrored
    maps = [random_map(draw, crops, flip) for flip in (mirrored, also_mirrored)]
    looks = pictures.unbind(1)
    first, second = (
        normalise(recolour(cut(look, affine, size), draw, crops))
        for look, affine in zip(looks, maps, strict=True)
    )
    return Views(first, second, overlap(maps[0], maps[1], size // patch))


def random_map(draw: Draw, crops: Crops, mirrored: Tensor) -> Tensor:
    """(B, 2, 3) maps from a view's coordinates to the picture's, both in [-1, 1]."""
    area = torch.exp(draw.uniform(math.log(crops.smallest_area), 0.0))
    aspect = torch.exp(draw.uniform(-crops.aspect, crops.aspect))
    width, height = (area * aspect).sqrt().clamp(max=1.0), (area / aspect).sqrt().clamp(max=1.0)
    angle = torch.deg2rad(draw.uniform(-crops.rotation, crops.rotation))
    sign = 1.0 - 2.0 * mirrored.float()
    centre = (draw.uniform(-1, 1) * (1 - width), draw.uniform(-1, 1) * (1 - height))
    rows = [
        torch.stack([angle.cos() * width * sign, -angle.sin() * height, centre[0]], dim=1),
        torch.stack([angle.sin() * width * sign, angle.cos() * height, centre[1]], dim=1),
    ]
    return torch.stack(rows, dim=1)


def cut(pictures: Tensor, affine: Tensor, size: int) -> Tensor:
    """(B, 3, S, S) views; what lies outside a picture is its reflection."""
    grid = F.affine_grid(affine, [len(pictures), 3, size, size], align_corners=False)
    return F.grid_sample(pictures, grid, align_corners=False, padding_mode="reflection")


def overlap(first: Tensor, second: Tensor, side: int) -> Tensor:
    """(B, P, P) bilinear weights of the second view's patches at the first view's patch centres."""
    centres = (torch.arange(side) + 0.5) / side * 2 - 1
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1).reshape(-1, 2)
    place = grid @ first[:, :, :2].mT + first[:, None, :, 2]
    there = torch.linalg.solve(second[:, :, :2], (place - second[:, None, :, 2]).mT).mT
    apart = (there[:, :, None] - grid).abs() * side / 2
    weights = (1 - apart).clamp(min=0).prod(dim=-1)
    inside = (there.abs() <= 1 - 1 / side).all(dim=-1, keepdim=True)
    return torch.mul(weights, inside)


def recolour(views: Tensor, draw: Draw, crops: Crops) -> Tensor:
    """Turn the hue, change saturation, contrast, brightness and gamma, and add noise."""
    turned = torch.einsum("nij,njhw->nihw", _colour_matrix(draw, crops), views)
    middle = turned.mean(dim=(2, 3), keepdim=True)
    contrast = _wide(draw.uniform(*crops.contrast))
    shifted = (turned - middle) * contrast + middle + _wide(draw.uniform(-crops.brightness, crops.brightness))
    curved = shifted.clamp(0, 1) ** torch.exp(_wide(draw.uniform(-crops.gamma, crops.gamma)))
    return curved + draw.normal(curved) * _wide(draw.uniform(0, crops.noise))


def normalise(views: Tensor) -> Tensor:
    """Subtract the mean and divide by the deviation that the backbone expects."""
    return (views - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]


def _colour_matrix(draw: Draw, crops: Crops) -> Tensor:
    """(B, 3, 3) rotations about the grey axis (Rodrigues' formula), blended with grey."""
    angle = torch.deg2rad(draw.uniform(-crops.hue, crops.hue))[:, None, None]
    k = 1 / math.sqrt(3)
    cross = torch.tensor([[0.0, -k, k], [k, 0.0, -k], [-k, k, 0.0]])
    grey = torch.full((3, 3), 1 / 3)
    turn = angle.cos() * torch.eye(3) + angle.sin() * cross + (1 - angle.cos()) * grey
    saturation = draw.uniform(*crops.saturation) * ~draw.chance(crops.grey)
    blend = saturation[:, None, None]
    return blend * turn + (1 - blend) * grey


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None, None]
