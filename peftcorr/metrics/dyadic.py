"""The variance of an average over pairs that share images, without resampling."""

from __future__ import annotations

import numpy as np

from peftcorr.metrics.rows import Floats, Integers, sums

FEWEST = 4  # images in a stratum: the correction for few images below divides by n - 3


def dyadic_variance(
    source: Integers, target: Integers, stratum_of_image: Integers, influence: Floats
) -> tuple[Floats, Floats]:
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
        source, target: images of each pair, (P,), both of one stratum.
        stratum_of_image: every stratum has at least `FEWEST` images.
        influence: (K, P), each statistic minus its expectation is about the sum of its row.

    Returns:
        variance (K,), and Satterthwaite's degrees of freedom of it (K,).
    """
    number_of_images = len(stratum_of_image)
    low, high = np.minimum(source, target), np.maximum(source, target)
    keys, dyad_of_pair = np.unique(low * number_of_images + high, return_inverse=True)
    low, high = np.divmod(keys, number_of_images)  # equal where an image is paired with itself
    stratum, n = stratum_of_image[low], np.bincount(stratum_of_image)

    per_dyad = sums(influence, dyad_of_pair.reshape(-1), len(keys))
    number = np.bincount(stratum, minlength=len(n))
    residual = per_dyad - (sums(per_dyad, stratum, len(n)) / number)[:, stratum]
    two = low != high
    per_image = sums(residual, low, number_of_images)
    per_image += sums(residual[:, two], high[two], number_of_images)

    shared = sums(per_image**2, stratum_of_image, len(n))
    twice = sums(residual[:, two] ** 2, stratum[two], len(n))
    robust = (shared - twice) * (n * (n - 1) / ((n - 2) * (n - 3)))
    independent = sums(residual**2, stratum, len(n)) * (number / np.maximum(number - 1, 1))
    variance = np.maximum(robust.sum(axis=1), independent.sum(axis=1))
    parts = np.maximum(robust, independent)
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = parts.sum(axis=1) ** 2 / (parts**2 / (n - 1)).sum(axis=1)
    return variance, np.where(np.isfinite(freedom), freedom, float((n - 1).sum()))
