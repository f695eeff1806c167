"""How often a 95 % interval holds the truth: ``python benchmarks/coverage.py``.

Predictions are made up for pairs of images whose PCK is known: the logarithm of a prediction's distance is the sum of
what its category, its source image, its target image, its dyad (the two images, in both directions) and the keypoint
itself bring, all normal, so that the probability of a correct keypoint is a value of the normal distribution. Of each
of 500 such draws an interval is made, by peftcorr's bootstrap over images, by the plain percentiles of the same
resamples, and by the naive bootstrap over pairs. Writes ``leaderboard/coverage.json`` and ``leaderboard/coverage.md``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise

import numpy as np
from scenarios import SCENARIOS, Benchmark, Floats, Scenario, named, study

from peftcorr.metrics.bootstrap import intervals_from, replicates
from peftcorr.metrics.pair_scores import PairScores
from peftcorr.report.pipes import table

METHODS = ("peftcorr", "plain percentiles", "naive")


class Naive:
    """A bootstrap over pairs, as if they shared no images; every draw is resampled the same way."""

    def __init__(self, pairs: int, resamples: int, seed: int):
        rng = np.random.default_rng(seed)
        drawn = (np.bincount(rng.integers(pairs, size=pairs), minlength=pairs) for _ in range(resamples))
        self.counts = np.stack([counts.astype(np.uint8) for counts in drawn])

    def intervals(self, pairs: PairScores) -> Floats:
        """Percentiles, (4, A, 2)."""
        size = len(pairs.alphas)
        columns = np.concatenate(
            [pairs.correct, pairs.correct / pairs.keypoints, pairs.keypoints[None], np.ones((1, len(pairs)))]
        ).T
        sums = np.stack(
            [self.counts[:, start:end] @ columns[start:end] for start, end in pairwise(pairs.first.tolist())]
        )  # (C, B, 2A + 2)
        parts = [(sums[..., :size], sums[..., -2:-1]), (sums[..., size : 2 * size], sums[..., -1:])]
        pooled = [top.sum(axis=0) / bottom.sum(axis=0) for top, bottom in parts]
        means = [(top / bottom).mean(axis=0) for top, bottom in parts]
        found = np.stack([*pooled, *means], axis=1)
        ends: Floats = 100 * np.moveaxis(np.quantile(found, [0.025, 0.975], axis=0), 0, -1)
        return ends


def coverage(scenario: Scenario, draws: int, resamples: int, seed: int) -> dict[str, object]:
    """Measure one scenario: in what share of draws each method's intervals hold the truth, and how wide they are."""
    benchmark = Benchmark(scenario, seed)
    truth = benchmark.truth()
    held = {method: np.zeros(truth.shape) for method in METHODS}
    width = {method: np.zeros(truth.shape) for method in METHODS}
    naive = Naive(len(benchmark.source), resamples, seed)
    own = 0.0
    for draw in range(draws):
        pairs = benchmark.draw(np.random.default_rng([seed, 1, draw]))
        before = time.process_time()
        drawn = replicates(pairs, resamples, draw)
        ours = intervals_from(pairs, drawn)
        own += time.process_time() - before
        plain = np.nanquantile(drawn, [0.025, 0.975], axis=0)
        for method, ends in (
            ("peftcorr", ours),
            ("plain percentiles", np.moveaxis(plain, 0, -1)),
            ("naive", naive.intervals(pairs)),
        ):
            held[method] += (ends[..., 0] <= truth) & (truth <= ends[..., 1])
            width[method] += ends[..., 1] - ends[..., 0]
    return {
        "scenario": asdict(scenario),
        "pairs": len(benchmark.source),
        "truth": named(truth),
        "coverage": {method: named(100 * held[method] / draws) for method in METHODS},
        "width": {method: named(width[method] / draws) for method in METHODS},
        "cpu_seconds_an_interval": round(own / draws, 4),
    }


_PAGE = """\
# Coverage of the intervals

In what share of {draws} draws a 95 % interval holds the true PCK, on made-up predictions whose PCK is known:
`python benchmarks/coverage.py` (what is drawn is described there; all numbers are in [`coverage.json`](coverage.json)).
Each cell has the lowest and the highest over four aggregates and the thresholds 0.05, 0.1 and 0.2; of a method that
covers in exactly 95 %, one such value lies between {low:.1f} and {high:.1f} in 19 of 20 studies. In parentheses, the
mean width of the interval of PCK@0.1 per keypoint.

- *peftcorr*: the bootstrap over images of `peftcorr/metrics/bootstrap.py`, {resamples:,} resamples.
- *plain percentiles*: percentiles of the same resamples. They count the pairs' own noise three times, too much where
  images matter little, and know nothing of small numbers, too little where there are few images.
- *naive*: a bootstrap over pairs, as if they shared no images.

{table}

An interval of the pairs of the sixth line, {pairs:,} as in SPair-71k's test split, takes {seconds:.2f} s of
one core for all aggregates and thresholds.
"""


def page(results: Sequence[dict[str, object]], draws: int, resamples: int) -> str:
    """Return the study as a page of Markdown."""
    rows = []
    for result in results:
        scenario, found, width = (result[key] for key in ("scenario", "coverage", "width"))
        assert isinstance(scenario, dict)
        assert isinstance(found, dict)
        assert isinstance(width, dict)
        cells = []
        for method in METHODS:
            values = [value for row in found[method].values() for value in row.values()]
            cells.append(
                f"{min(values):.1f} to {max(values):.1f} ({width[method]['per_keypoint']['0.1']:.2f})"
            )
        images = scenario["source"] + scenario["target"]
        rows.append([scenario["name"], f"{100 * images:.0f} %", f"{result['pairs']:,}", *cells])
    header = ["images and pairs", "images' share of the variance", "pairs", *METHODS]
    error = 1.96 * math.sqrt(0.95 * 0.05 / draws)
    return _PAGE.format(
        draws=draws,
        resamples=resamples,
        low=100 * (0.95 - error),
        high=100 * (0.95 + error),
        table=table(header, rows, left=(0,)),
        pairs=results[min(5, len(results) - 1)]["pairs"],
        seconds=results[min(5, len(results) - 1)]["cpu_seconds_an_interval"],
    )


def main() -> None:
    """Run the study and write its results."""
    study("coverage", __doc__ or "", SCENARIOS, coverage, page)


if __name__ == "__main__":
    main()
