"""The variance of an average over pairs that share images, without resampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peftcorr.metrics.rows import Integers

Floats = NDArray[np.float64]

FEWEST = 4  # images in a stratum: the correction for few images below divides by n - 3


@dataclass(frozen=True)
class Dyads:
    """The unordered pairs of images that are compared at all, in one direction or in both.

    Attributes:
        of_pair: dyad of each pair, (P,).
        low, high: its images, (D,); equal where an image is paired with itself.
        stratum: of each dyad, (D,).
        images: number of images in each stratum, (S,).
    """

    of_pair: Integers
    low: Integers
    high: Integers
    stratum: Integers
    images: Integers

    @classmethod
    def of(cls, source: Integers, target: Integers, stratum_of_image: Integers) -> Dyads:
        """Find the dyads of pairs (P,) whose images are numbered; the two of a pair are in one stratum."""
        low, high = np.minimum(source, target), np.maximum(source, target)
        keys, of_pair = np.unique(low * len(stratum_of_image) + high, return_inverse=True)
        low, high = np.divmod(keys, len(stratum_of_image))
        return cls(of_pair.reshape(-1), low, high, stratum_of_image[low], np.bincount(stratum_of_image))


def dyadic_variance(dyads: Dyads, influence: Floats) -> tuple[Floats, Floats]:
    """Estimate the variance of K statistics from the influence of every pair, robust to shared images.

    Two pairs are dependent when they share an image, in whatever role; all others are not. The variance of a sum
    of u over pairs is then the sum of u u' over all pairs of pairs that share an image (Fafchamps and Gubert, "The
    formation of risk sharing networks", Journal of Development Economics 2007; Aronow, Samii and Assenova,
    "Cluster-robust variance estimation for dyadic data", Political Analysis 2015). With d the sum of u over both
    directions of a dyad and U that over all dyads of an image, it is the sum of U² over images less that of d² over
    dyads, which the first counts twice.

    Here it is taken in every stratum (a category) round the stratum's own mean, since categories and the number of
    images of each are fixed by the benchmark. That costs degrees of freedom: under an additive model
    ``d = m + h_i + h_j + r`` on all dyads of n images, the plain estimate falls short by (n - 2)(n - 3) / (n (n - 1)),
    the same factor for h and for r, which is divided out; where a part of the dyads is missing it is right to first
    order in 1/n. Chance can make the estimate smaller than that of independent dyads, even negative, although images
    only ever add variance: the larger of the two counts.

    Args:
        dyads: of the pairs; every stratum has at least `FEWEST` images.
        influence: (K, P), each statistic minus its expectation is about the sum of its row.

    Returns:
        variance (K,), and Satterthwaite's degrees of freedom of it (K,).
    """
    strata = len(dyads.images)
    per_dyad = _sums(influence, dyads.of_pair, len(dyads.low))
    number = np.bincount(dyads.stratum, minlength=strata)
    residual = per_dyad - (_sums(per_dyad, dyads.stratum, strata) / number)[:, dyads.stratum]
    two = dyads.low != dyads.high
    per_image = _sums(residual, dyads.low, int(dyads.images.sum()))
    per_image += _sums(residual[:, two], dyads.high[two], int(dyads.images.sum()))
    stratum_of_image = np.empty(int(dyads.images.sum()), dtype=np.int64)
    stratum_of_image[dyads.low], stratum_of_image[dyads.high] = dyads.stratum, dyads.stratum

    n = dyads.images
    shared = _sums(per_image**2, stratum_of_image, strata)
    twice = _sums(residual[:, two] ** 2, dyads.stratum[two], strata)
    robust = (shared - twice) * (n * (n - 1) / ((n - 2) * (n - 3)))
    independent = _sums(residual**2, dyads.stratum, strata) * (number / np.maximum(number - 1, 1))
    variance = np.maximum(robust.sum(axis=1), independent.sum(axis=1))
    parts = np.maximum(robust, independent)
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = parts.sum(axis=1) ** 2 / (parts**2 / (n - 1)).sum(axis=1)
    return variance, np.where(np.isfinite(freedom), freedom, float((n - 1).sum()))


def _sums(values: Floats, index: Integers, length: int) -> Floats:
    """Sum the columns of `values` (K, N) that share an index: (K, length)."""
    return np.stack([np.bincount(index, weights=row, minlength=length) for row in values])
