"""What `check-plugin` asks of a predictor: points in pixels, each from its own map, and a sharp peak found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from peftcorr.errors import BrokenContract
from peftcorr.matching.predictors import Predictor, TargetPredictor
from peftcorr.matching.similarity import normalise

_HEIGHT, _WIDTH = 11, 15  # cells; another number each way, so that x and y cannot be confused
_CELLS = ((3, 4), (7, 10), (5, 2), (4, 12))  # rows and columns of the peaks


def checks(predictor: Predictor, stride: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """Checks by name, in an order in which each stands on those before it; each raises `BrokenContract`.

    Args:
        predictor: with its options.
        stride: pixels per cell.
    """
    checked = Check(predictor, stride)
    yield "points", checked.check_points
    yield "batches", checked.check_batches
    yield "peaks", partial(checked.check_peaks)


class Check:
    """A predictor, and the similarity maps (4, h, w) of four cells of one target with all of its cells."""

    def __init__(self, predictor: Predictor, stride: int):
        self._name, self._stride, self._settings = type(predictor).__name__, stride, predictor.points
        feature = _target()
        self._maps = torch.stack([feature @ feature[row, column] for row, column in _CELLS])
        self._predictor = (
            predictor.for_target(feature) if isinstance(predictor, TargetPredictor) else predictor
        )

    def check_points(self) -> None:
        """(..., 2) for maps (..., h, w), float64, finite; the maps stay as they are."""
        kept = self._maps.clone()
        for maps in (self._maps, self._maps[:, None], self._maps.view(2, 2, _HEIGHT, _WIDTH)):
            points = self._predict(maps)
            wanted = (*self._leading, *maps.shape[:-2], 2)
            if tuple(points.shape) != wanted or points.dtype != torch.float64:
                raise self._broken(
                    f"gives points of shape {tuple(points.shape)} and type {points.dtype} for maps of shape "
                    f"{tuple(maps.shape)}: give {wanted} in torch.float64."
                )
            if not bool(torch.isfinite(points).all()):
                raise self._broken("gives points that are not finite.")
        if not torch.equal(kept, self._maps):
            raise self._broken(
                "changes the maps that it is given, which others read after it: work on a copy."
            )

    def check_batches(self) -> None:
        """A map's point does not depend on the maps beside it."""
        together = self._predict(self._maps)
        for index in range(len(self._maps)):
            alone = self._predict(self._maps[index : index + 1])[..., 0, :]
            if not float((alone - together[..., index, :]).abs().max()) <= 1e-6 * self._stride:
                raise self._broken("gives a map another point beside other maps: let each have its own.")

    def check_peaks(self) -> None:
        """The point lies within a cell of a sharp peak."""
        points = self._predict(self._maps)
        for index, (row, column) in enumerate(_CELLS):
            centre = (torch.tensor([column, row], dtype=torch.float64) + 0.5) * self._stride - 0.5
            apart = float((points[..., index, :] - centre).abs().max())
            if not apart <= self._stride:
                raise self._broken(
                    f"misses the sharp peak of a map by {apart:.1f} px at a stride of {self._stride}: x comes before "
                    "y, and the centre of cell i is (i + 0.5) stride - 0.5."
                )

    @property
    def _leading(self) -> tuple[int, ...]:
        return (self._settings,) if self._settings > 1 else ()

    def _predict(self, maps: Tensor) -> Tensor:
        return self._predictor.predict(maps, self._stride)

    def _broken(self, what: str) -> BrokenContract:
        return BrokenContract(f"The predictor {self._name} {what}")


def _target() -> Tensor:
    """Normalised features (h, w, C) whose similarity falls off round each cell: random waves of the position."""
    waves = torch.randn((2, 512), generator=torch.Generator().manual_seed(0))
    rows, columns = torch.meshgrid(torch.arange(_HEIGHT), torch.arange(_WIDTH), indexing="ij")
    phase = torch.stack((rows, columns), -1).float() @ waves
    return normalise(torch.cat((phase.cos(), phase.sin()), -1).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
