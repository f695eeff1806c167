"""Matching by the plan: the queries that are still looked for, and all products of the targets that are ripe."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peftcorr.engine.schedule import Schedule
from peftcorr.machine.devices import has_float64
from peftcorr.matching.conventions import PEFTCORR, Convention
from peftcorr.matching.predictors import Predictor, TargetPredictor
from peftcorr.matching.upsampled import UpsampledArgmax

_EPSILON = 1e-12


class Matcher:
    """Keeps queries and predicts; the similarity maps of a process never fill more than `match_bytes`.

    Args:
        plan: of this process.
        correspondences: of the split, N.
        predictors: each predicts from the same similarity maps.
        stride: pixels per feature cell.
        shape: h, w, C of a feature map.
        match_bytes: memory for similarity maps; one map is held at least.
        device: where the maps are. Points are float64, so that they are predicted on the host where it has none.
        convention: how queries and maps are multiplied, and what predictors look at.
        sizes: W, H of the original images, (I, 2), filled in as they are decoded; what enlarged maps are enlarged to.

    Attributes:
        predicted: x, y in pixels of the input, (P, N, 2), float64; zero but in `plan.rows`. P is the number of
            predictors, of which a grid counts as many as it has settings.
        peaks: highest similarity of each correspondence's map, (N,), float32; zero but in `plan.rows`.
    """

    def __init__(
        self,
        plan: Schedule,
        correspondences: int,
        predictors: Sequence[Predictor],
        stride: int,
        shape: tuple[int, int, int],
        match_bytes: int,
        device: torch.device,
        convention: Convention = PEFTCORR,
        sizes: NDArray[np.float64] | None = None,
    ):
        self._plan, self._stride = plan, stride
        self._convention, self._sizes = convention, sizes
        self._predictors: list[tuple[slice, Predictor]] = []
        self._of_targets: list[tuple[slice, TargetPredictor]] = []
        points = 0
        for predictor in predictors:
            place = slice(points, points + predictor.points)
            points = place.stop
            if isinstance(predictor, TargetPredictor):
                self._of_targets.append((place, predictor))
            else:
                self._predictors.append((place, predictor))
        height, width, channels = shape
        most = max(1, min(match_bytes // (4 * height * width), len(plan.rows)))
        self._maps = torch.empty((most, height, width), device=device)
        self._predicts_on = device if has_float64(device) else torch.device("cpu")
        self._rows = torch.from_numpy(plan.rows).to(device)
        self._places = self._rows.to(self._predicts_on)
        self._query = torch.from_numpy(plan.queries.of).to(device)
        self._queries = torch.empty((0, channels), device=device)
        self._needless = 0
        self.predicted = torch.zeros(
            (points, correspondences, 2), dtype=torch.float64, device=self._predicts_on
        )
        self.peaks = torch.zeros(correspondences, device=device)

    def add(self, queries: Tensor) -> None:
        """Keep the normalised queries (U', C) of the next window."""
        self._queries = torch.cat((self._queries, queries))

    def match(self, window: int, take: Callable[[int], Tensor]) -> None:
        """Match the targets that are ripe after a window; `take` gives the normalised map (h, w, C) of an image.

        Each map is multiplied with all its queries at once; the predictors run over the maps of many targets, but for
        those that look at the target itself.
        """
        first = filled = 0
        for target in self._plan.targets[window]:
            taken = self._convention.target(take(target))
            own = [(place, self._for(predictor, target, taken)) for place, predictor in self._of_targets]
            feature = taken.flatten(0, 1).T
            row = int(self._plan.first_row[target])
            end = row + int(self._plan.count[target])
            while row < end:
                if filled == len(self._maps):
                    self._predict(first, filled)
                    filled = 0
                if filled == 0:
                    first = row
                count = min(end - row, len(self._maps) - filled)
                wanted = self._query[self._rows[row : row + count]]
                queries = self._queries[wanted - self._needless]
                maps = self._maps[filled : filled + count]
                torch.mm(queries, feature, out=maps.flatten(1))
                self._enter(own, maps, row)
                if self._convention.enlarged:  # features are raw until they are interpolated
                    maps /= taken.norm(dim=-1).clamp_min(_EPSILON)
                row, filled = row + count, filled + count
        if filled:
            self._predict(first, filled)
        needless = int(self._plan.queries.needless[window])
        self._queries = self._queries[needless - self._needless :]
        self._needless = needless

    def _for(self, predictor: TargetPredictor, target: int, feature: Tensor) -> Predictor:
        """The predictor for one target."""
        feature = feature.to(self._predicts_on)
        if not self._convention.enlarged:
            return predictor.for_target(feature)
        assert isinstance(predictor, UpsampledArgmax)
        assert self._sizes is not None
        width, height = self._sizes[target].astype(int).tolist()
        return predictor.enlarged(feature, height, width)

    def _predict(self, first: int, count: int) -> None:
        maps = self._maps[:count]
        self.peaks[self._rows[first : first + count]] = maps.flatten(1).amax(1)
        self._enter(self._predictors, maps, first)

    def _enter(self, predictors: Sequence[tuple[slice, Predictor]], maps: Tensor, first: int) -> None:
        if predictors:
            maps = maps.to(self._predicts_on)
        for place, predictor in predictors:
            points = predictor.predict(maps, self._stride)
            self.predicted[place, self._places[first : first + len(maps)]] = points.to(self.predicted.dtype)
