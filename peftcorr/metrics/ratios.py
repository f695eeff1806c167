"""Ratios of sums over pairs, with the intervals that PCK has: the same resamples of images, the same width.

PCK per keypoint is one (correct keypoints over keypoints), and so is every mean over some of the keypoints or pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from peftcorr.metrics.bootstrap import LEVEL, RESAMPLES, resampled_counts, rescaled, spread
from peftcorr.metrics.dyadic import FEWEST
from peftcorr.metrics.pair_scores import PairScores
from peftcorr.metrics.rows import Floats

_PAIRS = 1 << 14  # at once: a block's weights take 32 MB at most


@dataclass(frozen=True)
class Ratios:
    """K ratios over the same P pairs.

    Attributes:
        pairs: which images the pairs join.
        over, under: what each pair adds above and below the line, (K, P).
    """

    pairs: PairScores
    over: Floats
    under: Floats

    def estimates(self) -> Floats:
        """(K,); NaN where nothing is below the line."""
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Floats = self.over.sum(axis=1) / self.under.sum(axis=1)
        return found

    def influences(self) -> Floats:
        """How much each pair moves each ratio, (K, P)."""
        found: Floats = (self.over - self.estimates()[:, None] * self.under) / self.under.sum(
            axis=1, keepdims=True
        )
        return found

    def replicates(self, resamples: int, seed: int) -> Floats:
        """Each ratio in each resample, (B, K); NaN where it has nothing below the line."""
        columns = np.concatenate([self.over, self.under]).T
        parts = []
        for counts in resampled_counts(self.pairs, resamples, seed):
            by_image = np.ascontiguousarray(counts.T)
            total = np.zeros((len(counts), columns.shape[1]))
            for start in range(0, len(self.pairs), _PAIRS):
                part = slice(start, start + _PAIRS)
                weights = by_image[self.pairs.source[part]] * by_image[self.pairs.target[part]]
                total += weights.T @ columns[part]
            over, under = np.split(total, 2, axis=1)
            with np.errstate(invalid="ignore", divide="ignore"):
                parts.append(over / under)
        return np.concatenate(parts)

    def images(self) -> Floats:
        """How many images have a part in each ratio, (K,)."""
        found = np.zeros((len(self.under), self.pairs.images), dtype=bool)
        for number, under in enumerate(self.under):
            part = under > 0
            found[number, self.pairs.source[part]] = found[number, self.pairs.target[part]] = True
        images: Floats = found.sum(axis=1).astype(np.float64)
        return images


def ratio_intervals(
    ratios: Ratios, mixed: Floats, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Floats, Floats, Floats]:
    """95 % intervals of sums of ratios, and what they were made with.

    Args:
        ratios: K of them, at least one pair below the line of each.
        mixed: how much of each ratio is in each of L statistics, (L, K).
        resamples, seed: of the images.

    Returns:
        low and high (L, 2), standard error (L,) and degrees of freedom (L,); NaN where fewer than four images have a
        part.
    """
    none = np.full(len(mixed), np.nan)
    if ratios.pairs.images < FEWEST:
        return np.stack([none, none], axis=1), none, none
    error, freedom = spread(ratios.pairs, mixed @ ratios.influences())
    drawn = ratios.replicates(resamples, seed) @ mixed.T
    moved = rescaled(drawn, mixed @ ratios.estimates(), error, freedom)
    ends = np.nanquantile(moved, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0).T
    few = ((mixed != 0) & (ratios.images() < FEWEST)).any(axis=1)
    ends[few] = np.nan
    return ends, np.where(few, np.nan, error), freedom
