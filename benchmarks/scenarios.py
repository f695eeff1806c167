"""Made-up benchmarks whose PCK is known: what ``coverage.py`` and ``coverage_seeds.py`` draw predictions for."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from findings import write_json
from numpy.typing import NDArray
from scipy.stats import norm

from peftcorr.files import atomic_path
from peftcorr.metrics.bootstrap import RESAMPLES
from peftcorr.metrics.pair_scores import PairScores
from peftcorr.metrics.presets import AGGREGATES

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ALPHAS = (0.05, 0.1, 0.2)

S = TypeVar("S")


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


def named(values: Floats) -> dict[str, dict[str, float]]:
    """Values (4, A) by aggregate and threshold."""
    return {
        aggregate: {f"{alpha:g}": round(float(value), 3) for alpha, value in zip(ALPHAS, row, strict=True)}
        for aggregate, row in zip(AGGREGATES, values, strict=True)
    }


def study(
    name: str,
    about: str,
    scenarios: Sequence[S],
    coverage: Callable[[S, int, int, int], dict[str, Any]],
    page: Callable[[list[dict[str, Any]], int, int], str],
    **more: object,
) -> None:
    """Run a study by the options of its command line, and write ``NAME.json`` and ``NAME.md``.

    Args:
        name: of the files.
        about: of the script.
        scenarios: what is drawn.
        coverage: what comes of one, with so many draws, resamples and a seed.
        page: shows it all.
        more: what the JSON file says besides.
    """
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=500, metavar="N")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--output", type=Path, default=Path("leaderboard"), metavar="DIR")
    parsed = parser.parse_args()
    results = []
    for scenario in scenarios:
        results.append(coverage(scenario, parsed.draws, parsed.resamples, parsed.seed))
        print(f"{len(results)} of {len(scenarios)}", json.dumps(results[-1]["coverage"]), flush=True)
    asked = {"draws": parsed.draws, "resamples": parsed.resamples, "seed": parsed.seed}
    write_json(parsed.output / f"{name}.json", {**asked, **more, "scenarios": results})
    with atomic_path(parsed.output / f"{name}.md") as temporary:
        temporary.write_text(page(results, parsed.draws, parsed.resamples), encoding="utf-8", newline="\n")
