"""Ratios of sums over pairs, with the intervals that PCK has: the same resamples of images, the same width.

PCK per keypoint is one (correct keypoints over keypoints), and so is every mean over some of the keypoints or pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from peftcorr.metrics.bootstrap import limits, rescaled, spread
from peftcorr.metrics.dyadic import FEWEST
from peftcorr.metrics.pair_scores import PairScores
from peftcorr.metrics.rows import Floats


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

    def columns(self) -> Floats:
        """What each pair adds to the sums that `from_sums` takes, (P, 2K)."""
        found: Floats = np.concatenate([self.over, self.under]).T
        return found

    def from_sums(self, total: Floats) -> Floats:
        """Each ratio in each of b resamples, from their sums of the columns (b, 2K): (b, K); NaN of nothing."""
        over, under = np.split(total, 2, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Floats = over / under
        return found

    def images(self) -> Floats:
        """How many images have a part in each ratio, (K,)."""
        found = np.zeros((len(self.under), self.pairs.images), dtype=bool)
        for number, under in enumerate(self.under):
            part = under > 0
            found[number, self.pairs.source[part]] = found[number, self.pairs.target[part]] = True
        images: Floats = found.sum(axis=1).astype(np.float64)
        return images


def ratio_intervals(ratios: Ratios, mixed: Floats, drawn: Floats | None) -> tuple[Floats, Floats, Floats]:
    """95 % intervals of sums of ratios, and what they were made with.

    Args:
        ratios: K of them, at least one pair below the line of each.
        mixed: how much of each ratio is in each of L statistics, (L, K).
        drawn: each ratio in each of B resamples, (B, K); None of fewer than four images.

    Returns:
        low and high (L, 2), standard error (L,) and degrees of freedom (L,); NaN where fewer than four images have a
        part.
    """
    none = np.full(len(mixed), np.nan)
    if drawn is None:
        return np.stack([none, none], axis=1), none, none
    error, freedom = spread(ratios.pairs, mixed @ ratios.influences())
    ends = limits(rescaled(_sums(drawn, mixed), mixed @ ratios.estimates(), error, freedom))
    few = ((mixed != 0) & (ratios.images() < FEWEST)).any(axis=1)
    ends[few] = np.nan
    return ends, np.where(few, np.nan, error), freedom


def _sums(drawn: Floats, mixed: Floats) -> Floats:
    """Each statistic in each resample, (B, L), of its own ratios alone: NaN of another times 0 would be NaN too."""
    found = np.empty((len(drawn), len(mixed)))
    for number, shares in enumerate(mixed):
        parts = shares != 0
        found[:, number] = drawn[:, parts] @ shares[parts]
    return found
