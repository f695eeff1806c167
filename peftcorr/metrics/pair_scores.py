"""What a bootstrap resamples: the number of correct keypoints of every pair, and which two images it joins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from peftcorr.metrics.aggregate import within
from peftcorr.metrics.presets import PEFTCORR, Preset
from peftcorr.metrics.rows import Floats, Integers, coded, dataset_of, frame_sizes, points, sums, visible


@dataclass(frozen=True)
class PairScores:
    """P pairs of one predictor on one split, sorted by category.

    Attributes:
        alphas: the A thresholds.
        correct: number of correct keypoints, (A, P).
        keypoints: number of keypoints, (P,).
        category: category of each pair, as an index of `categories`, (P,).
        categories: names, sorted.
        source, target: image of each pair, (P,); images are numbered by category and name.
        images: how many distinct (category, image) there are.
    """

    alphas: tuple[float, ...]
    correct: Floats
    keypoints: Floats
    category: Integers
    categories: tuple[str, ...]
    source: Integers
    target: Integers
    images: int

    def __len__(self) -> int:
        return len(self.keypoints)

    @cached_property
    def first(self) -> Integers:
        """Where the pairs of each category begin, and how many pairs there are, (C + 1,)."""
        return np.searchsorted(self.category, np.arange(len(self.categories) + 1))

    @cached_property
    def category_of_image(self) -> Integers:
        """(images,)."""
        category = np.empty(self.images, dtype=np.int64)
        category[self.source], category[self.target] = self.category, self.category
        return category

    def subset(self, chosen: NDArray[np.bool_]) -> PairScores:
        """The pairs (P,) that `chosen` holds for, with the images and categories that occur in them."""
        kept, category = np.unique(self.category[chosen], return_inverse=True)
        ends = np.concatenate([self.source[chosen], self.target[chosen]])
        used, image = np.unique(ends, return_inverse=True)
        source, target = np.split(image, 2)
        return replace(
            self,
            correct=self.correct[:, chosen],
            keypoints=self.keypoints[chosen],
            category=category,
            categories=tuple(self.categories[index] for index in kept),
            source=source,
            target=target,
            images=len(used),
        )


def pair_numbers(rows: pa.Table) -> tuple[Integers, Integers]:
    """First row of each pair of a table, in the order of `PairScores`, and each row's pair in that order.

    Pairs are sorted by category, source image, target image and name, whatever the order of the rows.
    """
    _, first, pair = np.unique(rows.column("pair").to_numpy(), return_index=True, return_inverse=True)
    one = rows.take(pa.array(first))
    order = np.lexsort(
        [coded(one, name)[1] for name in ("pair_id", "target_image", "source_image", "category")]
    )
    return first[order], order.argsort()[pair.reshape(-1)]


def pair_scores(rows: pa.Table, alphas: Sequence[float], preset: Preset = PEFTCORR) -> PairScores:
    """Count the correct keypoints of every pair.

    Args:
        rows: predictions of one predictor on one split, as `peftcorr.metrics.rows.groups` gives them and
            `peftcorr.metrics.aggregate.score_predictions` has found sound.
        alphas: thresholds as a share of the reference length.
        preset: when a keypoint is correct.
    """
    rows = visible(rows)
    correct = within(
        points(rows, "prediction"),
        points(rows, "truth"),
        rows.column("reference_length").to_numpy(),
        alphas,
        preset,
        frame_sizes(rows, preset, "this run"),
        dataset_of(rows),
    )
    first, pair = pair_numbers(rows)
    one = rows.take(pa.array(first))
    categories, category = coded(one, "category")
    paths, path = coded(one, "source_image", "target_image")
    used, image = np.unique(np.tile(category, 2) * len(paths) + path, return_inverse=True)
    source, target = np.split(image.reshape(-1), 2)
    return PairScores(
        alphas=tuple(alphas),
        correct=sums(correct, pair, len(first)),
        keypoints=np.bincount(pair, minlength=len(first)).astype(np.float64),
        category=category,
        categories=tuple(categories),
        source=source,
        target=target,
        images=len(used),
    )
