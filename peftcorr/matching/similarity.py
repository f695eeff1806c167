"""From feature maps and keypoints to maps of cosine similarity."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def normalise(features: Tensor) -> Tensor:
    """L2-normalise (..., C, h, w) over C at every location."""
    return nn.functional.normalize(features, dim=-3)


def sample_queries(features: Tensor, points: Tensor, stride: int) -> Tensor:
    """Sample feature maps bilinearly at points, clamped at the border.

    Args:
        features: normalised maps (B, C, h, w).
        points: x, y (B, K, 2) in pixels of the input image, pixel centres on integers; patch j is centred at
            (j + 0.5) stride - 0.5. They may be the host's, and in float64 then, whatever device the maps are on.
        stride: pixels per feature cell.

    Returns:
        Normalised queries (B, K, C).
    """
    height, width = features.shape[-2:]
    cells = torch.tensor([width, height], dtype=points.dtype, device=points.device)
    # align_corners=False puts -1 and 1 on the outer edges of the corner cells: cell j is at (2j + 1) / w - 1.
    grid = (2 * (points + 0.5) / (stride * cells) - 1).to(features.dtype).to(features.device)
    sampled = nn.functional.grid_sample(
        features, grid.unsqueeze(2), padding_mode="border", align_corners=False
    )
    return nn.functional.normalize(sampled.squeeze(3), dim=1).transpose(1, 2)


def sample_at(features: Tensor, slot: Tensor, points: Tensor, stride: int) -> Tensor:
    """Sample some points of some maps, `sample_queries` for a different number of points a map.

    Args:
        features: normalised maps (B, C, h, w).
        slot: map of each point (U,), ascending; the host's, as the points are.
        points: x, y (U, 2) in pixels of the input image.
        stride: pixels per feature cell.

    Returns:
        Normalised queries (U, C).
    """
    place = torch.arange(len(slot), device=slot.device) - torch.searchsorted(slot, slot)
    most = int(place.max()) + 1 if len(slot) else 0
    padded = points.new_zeros((len(features), most, 2))
    padded[slot, place] = points
    device = features.device
    return sample_queries(features, padded, stride)[slot.to(device), place.to(device)]


def similarity(queries: Tensor, targets: Tensor) -> Tensor:
    """Cosine similarity of queries (..., M, C) with every location of targets (..., C, h, w): (..., M, h, w)."""
    height, width = targets.shape[-2:]
    maps: Tensor = queries @ targets.flatten(-2)
    return maps.view(*maps.shape[:-1], height, width)


def cell_centres(count: int, stride: int, device: torch.device | None = None) -> Tensor:
    """Coordinates (count,), float64, of cell centres along one axis, in pixels of the input image."""
    return (torch.arange(count, dtype=torch.float64, device=device) + 0.5) * stride - 0.5
