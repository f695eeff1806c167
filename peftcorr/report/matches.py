"""Saved predictions, pair by pair, in the order in which one wants to look at them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from peftcorr.errors import PeftCorrError, did_you_mean, shown
from peftcorr.metrics.outcomes import HIDDEN, OUTCOMES, RIGHT, Outcome, outcomes
from peftcorr.metrics.pair_scores import pair_numbers
from peftcorr.metrics.presets import Preset
from peftcorr.metrics.rows import points, sums
from peftcorr.report.side_by_side import Mark

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Keypoint:
    """One keypoint of a pair.

    Attributes:
        name: as the dataset has it.
        mark: where it is, where it was found and what became of it.
        error: distance to the truth as a share of the reference length; NaN where the truth is no place.
        similarity: cosine, the highest of its map; NaN where an older file does not tell.
    """

    name: str
    mark: Mark
    error: float
    similarity: float


@dataclass(frozen=True)
class Pair:
    """One pair of images with its keypoints, the worst first."""

    pair_id: str
    category: str
    source_image: str
    target_image: str
    keypoints: tuple[Keypoint, ...]

    def counts(self) -> dict[Outcome, int]:
        """How many keypoints became what; without those that none did."""
        kinds = [keypoint.mark.kind for keypoint in self.keypoints]
        return {kind: kinds.count(kind) for kind in OUTCOMES if kind in kinds}


class Matches:
    """The predictions of one predictor on one split.

    Pairs are numbered by category and images, whatever the order of the rows.

    Args:
        dataset: name of the dataset.
        rows: as `peftcorr.metrics.rows.groups` gives them, and found sound by scoring.
        alpha: threshold as a share of the reference length.
        preset: when a keypoint is right.
    """

    def __init__(self, dataset: str, rows: pa.Table, alpha: float, preset: Preset):
        self._rows = rows
        self._found = outcomes(dataset, rows, alpha, preset)
        self._first, self._pair = pair_numbers(rows)
        self._categories = self._texts("category")
        self._ids = self._texts("pair_id")
        self.right: Flags = self._found.kind == RIGHT

    def __len__(self) -> int:
        return len(self._first)

    def worst(self, category: str | None = None) -> list[int]:
        """Pairs with the smallest share of right keypoints first, of equal ones those with the largest mean error.

        Pairs of which the target hides every keypoint are left out.

        Args:
            category: of this one alone.

        Raises:
            PeftCorrError: if no pair is of that category.
        """
        seen = self._found.kind != HIDDEN
        number = self._per_pair(seen)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = self._per_pair(self.right) / number
            error = self._per_pair(np.where(seen, self._found.error, 0.0)) / number
        order = np.lexsort([np.arange(len(self)), -error, share])
        chosen = self._of_category(category)
        return [int(index) for index in order if number[index] and chosen[index]]

    def best(self) -> int:
        """The pair with the largest share of right keypoints, of equal ones the one with the most."""
        seen = self._per_pair(self._found.kind != HIDDEN)
        share = self._per_pair(self.right) / np.maximum(seen, 1)
        return int(np.lexsort([np.arange(len(self)), -seen, -share])[0])

    def named(self, pair_ids: Sequence[str]) -> list[int]:
        """Pairs by their names.

        Raises:
            PeftCorrError: if there is none of a name.
        """
        found = []
        for name in pair_ids:
            own = [index for index, pair_id in enumerate(self._ids) if pair_id == name]
            if not own:
                raise PeftCorrError(f"There is no pair {shown(name)} here.{did_you_mean(name, self._ids)}")
            found += own
        return found

    def ahead(self, other: Matches, category: str | None = None) -> list[int]:
        """Pairs where this run is right and the other is not, those with the most such keypoints first.

        What the other alone has right in a pair counts against it; a pair with more of that is left out.

        Args:
            other: on the same rows, as `peftcorr.metrics.compare.aligned` orders them.
            category: of this one alone.
        """
        won = self._per_pair(self.right & ~other.right)
        net = won - self._per_pair(other.right & ~self.right)
        order = np.lexsort([np.arange(len(self)), -won, -net])
        chosen = self._of_category(category)
        return [int(index) for index in order if net[index] > 0 and chosen[index]]

    def pair(self, index: int, only: Flags | None = None) -> Pair:
        """One pair.

        Args:
            index: its number.
            only: which rows to show, (N,); all if None.
        """
        chosen = self._pair == index
        numbers = np.flatnonzero(chosen if only is None else chosen & only)
        one = self._rows.slice(int(self._first[index]), 1)
        source, target = (str(one.column(f"{side}_image")[0].as_py()) for side in ("source", "target"))
        keypoints = [self._keypoint(int(number)) for number in numbers]
        keypoints.sort(key=lambda keypoint: -keypoint.error if keypoint.error >= 0 else math.inf)
        return Pair(self._ids[index], self._categories[index], source, target, tuple(keypoints))

    def _keypoint(self, number: int) -> Keypoint:
        row = self._rows.slice(number, 1)
        kind = OUTCOMES[self._found.kind[number]]
        source, truth, prediction = (
            tuple(points(row, which)[0].tolist()) for which in ("source", "truth", "prediction")
        )
        reach = tuple(self._found.reach[number].tolist())
        hidden = kind == "hidden"  # the truth of such a point is no place
        similarity = row.column("similarity")[0].as_py()
        return Keypoint(
            str(row.column("keypoint_id")[0].as_py()),
            Mark(source, prediction, kind, None if hidden else truth, None if hidden else reach),
            float(self._found.error[number]),
            math.nan if similarity is None else similarity,
        )

    def _of_category(self, category: str | None) -> Flags:
        if category is None:
            return np.ones(len(self), dtype=bool)
        chosen = np.array([name == category for name in self._categories])
        if not chosen.any():
            known = dict.fromkeys(self._categories)
            raise PeftCorrError(
                f"There is no category {shown(category)} here.{did_you_mean(category, known)}"
            )
        return chosen

    def _per_pair(self, values: NDArray[np.bool_] | NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = sums(values[None], self._pair, len(self))[0]
        return found

    def _texts(self, column: str) -> list[str]:
        return [str(text) for text in self._rows.column(column).take(pa.array(self._first)).to_pylist()]
