"""How often a 95 % interval holds the truth: ``python benchmarks/coverage.py``.

Predictions are made up for pairs of images whose PCK is known: the logarithm of a prediction's distance is the sum of
what its category, its source image, its target image, its dyad (the two images, in both directions) and the keypoint
itself bring, all normal, so that the probability of a correct keypoint is a value of the normal distribution. Of each
of 500 such draws an interval is made, by peftcorr's bootstrap over images, by the plain percentiles of the same
resamples, and by the naive bootstrap over pairs. Writes ``leaderboard/coverage.json`` and ``leaderboard/coverage.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from findings import write_json
from numpy.typing import NDArray
from scipy.stats import norm

from peftcorr.files import atomic_path
from peftcorr.metrics.bootstrap import RESAMPLES, intervals_from, replicates
from peftcorr.metrics.pair_scores import PairScores
from peftcorr.metrics.presets import AGGREGATES
from peftcorr.report.pipes import table

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ALPHAS = (0.05, 0.1, 0.2)
METHODS = ("peftcorr", "plain percentiles", "naive")


@dataclass(frozen=True)
class Scenario:
    """A made-up benchmark and what its images do to predictions.

    Attributes:
        name: what it resembles.
        categories, images: how many, and of each category.
        share: of the dyads of a category that are paired, in both directions.
        keypoints: fewest and most in a pair.
        source, target, dyad: share of the variance of log distance that each brings; the rest is the keypoint's.
        agreement: correlation of what an image brings as source and as target.
    """

    name: str
    categories: int
    images: int
    share: float
    keypoints: tuple[int, int]
    source: float
    target: float
    dyad: float
    agreement: float = 0.5


SCENARIOS = (
    Scenario("10 x 10 images, all ordered pairs (as PF-Willow)", 10, 10, 1.0, (10, 10), 0.09, 0.16, 0.04),
    Scenario("the same, strong images", 10, 10, 1.0, (10, 10), 0.3, 0.3, 0.04),
    Scenario("the same, weak images", 10, 10, 1.0, (10, 10), 0.01, 0.01, 0.0),
    Scenario("the same, images without effect", 10, 10, 1.0, (10, 10), 0.0, 0.0, 0.0),
    Scenario("5 x 20 images, all ordered pairs (as animal-pairs)", 5, 20, 1.0, (1, 20), 0.09, 0.16, 0.04),
    Scenario("18 x 27 images, 97 % of the pairs (as SPair-71k)", 18, 27, 0.97, (1, 14), 0.09, 0.16, 0.04),
    Scenario("6 x 40 images, 15 % of the pairs", 6, 40, 0.15, (1, 20), 0.16, 0.16, 0.04),
    Scenario("1 x 30 images, half of the pairs", 1, 30, 0.5, (3, 15), 0.09, 0.16, 0.04),
    Scenario("4 x 6 images, all ordered pairs", 4, 6, 1.0, (3, 15), 0.09, 0.16, 0.04),
)


class Benchmark:
    """The pairs of a scenario, which stay, and draws of predictions for them."""

    def __init__(self, scenario: Scenario, seed: int):
        self.scenario = scenario
        rng = np.random.default_rng([seed, 0])
        low, high, category = [], [], []
        for number in range(scenario.categories):
            one, other = np.triu_indices(scenario.images, 1)
            kept = np.sort(rng.permutation(len(one))[: round(scenario.share * len(one))])
            low.append(number * scenario.images + one[kept])
            high.append(number * scenario.images + other[kept])
            category.append(np.full(len(kept), number))
        order = np.argsort(np.tile(np.concatenate(category), 2), kind="stable")
        ends = [np.concatenate(part) for part in (low, high)]
        dyads = len(ends[0])
        self.dyad: Integers = np.tile(np.arange(dyads), 2)[order]
        self.source: Integers = np.concatenate(ends)[order]
        self.target: Integers = np.concatenate(ends[::-1])[order]
        self.category: Integers = np.tile(np.concatenate(category), 2)[order]
        self.keypoints: Integers = rng.integers(scenario.keypoints[0], scenario.keypoints[1] + 1, 2 * dyads)
        # From hard to easy categories; the logarithm of a distance as a share of the reference length, on average.
        spread = np.linspace(0.5, -0.5, scenario.categories) if scenario.categories > 1 else np.zeros(1)
        self.centre: Floats = math.log(0.1) + spread

    def truth(self) -> Floats:
        """Expected PCK in percent by every aggregate at every threshold, (4, A)."""
        known = norm.cdf(np.log(ALPHAS)[:, None] - self.centre)  # (A, C)
        in_keypoints = np.bincount(self.category, self.keypoints)
        in_pairs = np.bincount(self.category)
        pooled = [known @ number / number.sum() for number in (in_keypoints, in_pairs)]
        return 100 * np.stack([*pooled, known.mean(axis=1), known.mean(axis=1)])

    def draw(self, rng: np.random.Generator) -> PairScores:
        """Predictions for all keypoints of all pairs, scored."""
        of = self.scenario
        distance = self.pairs_part(rng)
        pair = np.repeat(np.arange(len(self.source)), self.keypoints)
        rest = math.sqrt(1 - of.source - of.target - of.dyad)
        return self.scored(pair, distance[pair] + rest * rng.standard_normal(len(pair)))

    def pairs_part(self, rng: np.random.Generator) -> Floats:
        """What categories, images and dyads bring to the logarithm of each pair's distances, (P,)."""
        of = self.scenario
        image = rng.standard_normal((2, of.categories * of.images))
        image[1] = of.agreement * image[0] + math.sqrt(1 - of.agreement**2) * image[1]
        distance = (
            self.centre[self.category] + math.sqrt(of.dyad) * rng.standard_normal(len(self.dyad))[self.dyad]
        )
        distance += (
            math.sqrt(of.source) * image[0, self.source] + math.sqrt(of.target) * image[1, self.target]
        )
        return distance

    def scored(self, pair: Integers, each: Floats) -> PairScores:
        """The logarithms of all keypoints' distances, with the pair of each, as scores."""
        of = self.scenario
        return PairScores(
            ALPHAS,
            np.stack([np.bincount(pair, each <= math.log(alpha)) for alpha in ALPHAS]).astype(np.float64),
            self.keypoints.astype(np.float64),
            self.category,
            tuple(f"{number:02d}" for number in range(of.categories)),
            self.source,
            self.target,
            of.categories * of.images,
        )


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


def named(values: Floats) -> dict[str, dict[str, float]]:
    """Values (4, A) by aggregate and threshold."""
    return {
        aggregate: {f"{alpha:g}": round(float(value), 3) for alpha, value in zip(ALPHAS, row, strict=True)}
        for aggregate, row in zip(AGGREGATES, values, strict=True)
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
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, default=500, metavar="N")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--output", type=Path, default=Path("leaderboard"), metavar="DIR")
    parsed = parser.parse_args()
    results = []
    for scenario in SCENARIOS:
        results.append(coverage(scenario, parsed.draws, parsed.resamples, parsed.seed))
        print(scenario.name, json.dumps(results[-1]["coverage"]), flush=True)
    content = {
        "draws": parsed.draws,
        "resamples": parsed.resamples,
        "seed": parsed.seed,
        "scenarios": results,
    }
    write_json(parsed.output / "coverage.json", content)
    with atomic_path(parsed.output / "coverage.md") as temporary:
        temporary.write_text(page(results, parsed.draws, parsed.resamples), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
