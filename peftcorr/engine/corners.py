"""The four feature cells round each query, looked for one by one; their peaks, weighted as the query's feature is.

What SD4Match and Visual-AI print as ``bilinear``. Each keypoint becomes five: itself, for the other predictors, and the
cells at its corners. All of them are matched in one pass, in which each image is encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from peftcorr.data.correspondences import Correspondences, Floats, Geometry
from peftcorr.data.frame import FRAMINGS
from peftcorr.data.images import ImageStore
from peftcorr.matching.conventions import Convention
from peftcorr.matching.predictors import BilinearArgmax, Predictor

EACH = 5  # rows of a keypoint: its own, and those of four cells


def asked(predictors: Sequence[Predictor]) -> bool:
    """Whether a predictor looks for the cells round each query."""
    return any(isinstance(predictor, BilinearArgmax) for predictor in predictors)


@dataclass(frozen=True)
class Corners:
    """A split in which every keypoint stands with its corners.

    Attributes:
        data: the split, 5 N rows: each keypoint before its corners.
        weights: of the corners, (N, 4); of each keypoint they sum to 1.
    """

    data: Correspondences
    weights: Floats

    @classmethod
    def of(
        cls, data: Correspondences, store: ImageStore, convention: Convention, stride: int, dataset: str
    ) -> Corners:
        """Find the cells round each of N keypoints.

        Args:
            data: the split.
            store: decodes its images, whose sizes say where cells lie.
            convention: how keypoints come to the grid.
            stride: pixels of a cell.
            dataset: its name: a convention may round the keypoints of some.

        Raises:
            PeftCorrError: if an image cannot be decoded.
        """
        assert convention.between_cells, "a recipe with another is refused"
        framing, cells = FRAMINGS[convention.name], store.size // stride
        image = data.source[data.pair]
        geometry = Geometry(len(data.images), framing.placing)
        sources = np.unique(image)
        store.add([data.images[n] for n in sources], [data.sizes[n] for n in sources])
        geometry.learn(sources, [store.frame(data.images[n], data.sizes[n]) for n in sources])
        points = framing.rounded(data.source_points, dataset)
        grid = convention.to_grid(geometry.to_input(points, image), store.size, stride).clip(0, cells - 1)
        low, share = np.floor(grid), grid - np.floor(grid)
        across, down = _two(share[:, 0]), _two(share[:, 1])
        weights = (down[:, :, None] * across[:, None, :]).reshape(-1, 4)
        columns, rows = (low[:, axis, None] + [0, 1] for axis in (0, 1))
        corner = np.stack(np.broadcast_arrays(columns[:, None, :], rows[:, :, None]), -1).reshape(-1, 4, 2)
        places = convention.from_grid(corner.clip(max=cells - 1), store.size, stride)
        original = geometry.inverse(places.swapaxes(0, 1), image).swapaxes(0, 1)
        every = np.concatenate((points[:, None], original), 1).reshape(-1, 2)
        return cls(_repeated(data, every), weights)

    def merged(self, points: Floats, predictors: Sequence[Predictor]) -> Floats:
        """What was predicted for each keypoint, (P, N, 2), from what was predicted for every row, (P, 5 N, 2)."""
        found = points[:, ::EACH].copy()
        place = 0
        for predictor in predictors:
            if isinstance(predictor, BilinearArgmax):
                peaks = points[place].reshape(-1, EACH, 2)[:, 1:]
                found[place] = (self.weights[..., None] * peaks).sum(1)
            place += predictor.points
        return found


def _two(share: Floats) -> Floats:
    """Weights (N, 2) of the cell before and the cell after."""
    return np.stack((1 - share, share), -1)


def _repeated(data: Correspondences, source_points: Floats) -> Correspondences:
    """Every row five times, with these source points."""

    def five(values: NDArray) -> NDArray:  # type: ignore[type-arg]
        return np.repeat(values, EACH, axis=0)

    return replace(
        data,
        pair=five(data.pair),
        source_points=source_points,
        target_points=five(data.target_points),
        keypoint=five(data.keypoint),
        occluded=None if data.occluded is None else five(data.occluded),
    )
