"""How often the interval of a method of several seeds holds the truth: ``python benchmarks/coverage_seeds.py``.

Predictions are made up as in ``coverage.py``, for several seeds of a training on the same images. What category,
images and dyad bring to the logarithm of a distance is the same for all seeds. On top, every seed brings something on
all images and something on every target image, and of what the keypoint brings a part is the seed's own. All parts are
normal and their variances sum to 1, so that the PCK over all images and seeds is known as it is there. Of each of 500
draws three intervals of the mean over seeds are made: peftcorr's, that of the images alone, as if the seeds at hand
were all there are, and the plain percentiles of a bootstrap that draws images and seeds. Writes
``leaderboard/coverage_seeds.json`` and ``leaderboard/coverage_seeds.md``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scenarios import ALPHAS, SCENARIOS, Benchmark, Floats, Scenario, named, study

from peftcorr.metrics.bootstrap import estimates, intervals_from, replicates
from peftcorr.metrics.pair_scores import PairScores
from peftcorr.metrics.seeds import combined, limits, method_intervals
from peftcorr.report.pipes import table

METHODS = ("peftcorr", "images alone", "plain percentiles")
OWN = 0.3  # of what a keypoint brings: the part that is another one for every seed


@dataclass(frozen=True)
class Seeded:
    """A made-up benchmark and what the seeds of a training do on it.

    Attributes:
        images: the benchmark.
        seeds: how many runs a method has.
        seed: share of the variance of log distance that a seed brings on all images.
        target: and on each target image.
    """

    images: Scenario
    seeds: int
    seed: float
    target: float = 0.01

    @property
    def name(self) -> str:
        """What it resembles."""
        images = self.images.name.replace("the same, images", "10 x 10 images,")
        return f"{images}, {self.seeds} seeds"


_WILLOW, _, _, _INERT, _ANIMALS, _SPAIR, _, _, _SMALL = SCENARIOS

SEEDED = (
    Seeded(_WILLOW, 3, 0.0004),
    Seeded(_WILLOW, 2, 0.0004),
    Seeded(_WILLOW, 5, 0.0004),
    Seeded(_WILLOW, 3, 0.0, 0.0),
    Seeded(_WILLOW, 3, 0.01),
    Seeded(_INERT, 3, 0.0004, 0.0),
    Seeded(_ANIMALS, 3, 0.0016),
    Seeded(_SPAIR, 3, 0.0004),
    Seeded(_SMALL, 2, 0.0036),
)


def draw(benchmark: Benchmark, scenario: Seeded, rng: np.random.Generator) -> list[PairScores]:
    """Predictions of every seed for all keypoints of all pairs, scored."""
    of = scenario.images
    rest = 1 - of.source - of.target - of.dyad - scenario.seed - scenario.target
    shared = benchmark.pairs_part(rng)
    pair = np.repeat(np.arange(len(shared)), benchmark.keypoints)
    shared_each = shared[pair] + math.sqrt((1 - OWN) * rest) * rng.standard_normal(len(pair))
    images = of.categories * of.images
    runs = []
    for _ in range(scenario.seeds):
        by_seed = math.sqrt(scenario.seed) * rng.standard_normal()
        by_image = by_seed + math.sqrt(scenario.target) * rng.standard_normal(images)
        own = math.sqrt(OWN * rest) * rng.standard_normal(len(pair))
        runs.append(benchmark.scored(pair, shared_each + by_image[benchmark.target][pair] + own))
    return runs


def plain(runs: Sequence[PairScores], resamples: int, seed: int) -> Floats:
    """Percentiles (4, A, 2) of resamples that draw images, the same for all runs, and runs."""
    each = np.stack([replicates(run, resamples, seed) for run in runs])
    rng = np.random.default_rng([seed, 2])
    counts = rng.multinomial(len(runs), [1 / len(runs)] * len(runs), size=resamples) / len(runs)
    return limits(np.einsum("bs,sbka->bka", counts, each))


def coverage(scenario: Seeded, draws: int, resamples: int, seed: int) -> dict[str, object]:
    """Measure one scenario: in what share of draws each method's intervals hold the truth, and how wide they are."""
    benchmark = Benchmark(scenario.images, seed)
    truth = benchmark.truth()
    held = {method: np.zeros(truth.shape) for method in METHODS}
    width = {method: np.zeros(truth.shape) for method in METHODS}
    spread = np.zeros(truth.shape)
    took = 0.0
    for number in range(draws):
        runs = draw(benchmark, scenario, np.random.default_rng([seed, 1, number]))
        before = time.process_time()
        ours = method_intervals(runs, resamples, number)
        took += time.process_time() - before
        assert ours is not None
        mean = combined(runs, [1 / len(runs)] * len(runs))
        spread += np.stack([estimates(run) for run in runs]).var(axis=0, ddof=1)
        for method, ends in (
            ("peftcorr", ours),
            ("images alone", intervals_from(mean, replicates(mean, resamples, number))),
            ("plain percentiles", plain(runs, resamples // 4, number)),
        ):
            held[method] += (ends[..., 0] <= truth) & (truth <= ends[..., 1])
            width[method] += ends[..., 1] - ends[..., 0]
    return {
        "scenario": asdict(scenario),
        "name": scenario.name,
        "pairs": len(benchmark.source),
        "truth": named(truth),
        "deviation_between_seeds": named(np.sqrt(spread / draws)),
        "coverage": {method: named(100 * held[method] / draws) for method in METHODS},
        "width": {method: named(width[method] / draws) for method in METHODS},
        "cpu_seconds_an_interval": round(took / draws, 4),
    }


_PAGE = """\
# Coverage of the intervals of several seeds

In what share of {draws} draws the 95 % interval of a method holds its true PCK over all images and all seeds, on
made-up predictions whose PCK is known: `python benchmarks/coverage_seeds.py` (what is drawn is described there; all
numbers are in [`coverage_seeds.json`](coverage_seeds.json)). Each cell has the lowest and the highest over four
aggregates and the thresholds 0.05, 0.1 and 0.2; in parentheses, the mean width of the interval of PCK@0.1 per keypoint.
The second column is how far seeds lie apart on the same images, as the standard deviation of that PCK in points.

- *peftcorr*: the interval over seeds and images of `peftcorr/metrics/seeds.py`, {resamples:,} resamples.
- *images alone*: the interval of the mean over seeds as [coverage](coverage.md) has it for a single run, which knows
  nothing of other seeds.
- *plain percentiles*: of a quarter as many resamples that draw images and seeds. Of few seeds they do not reach far.

{table}

An interval of three seeds on the pairs of SPair-71k's size takes {seconds:.2f} s of one core for all aggregates and
thresholds.
"""


def page(results: Sequence[dict[str, object]], draws: int, resamples: int) -> str:
    """Return the study as a page of Markdown."""
    rows = []
    for result in results:
        found, width, apart = (result[key] for key in ("coverage", "width", "deviation_between_seeds"))
        assert isinstance(found, dict)
        assert isinstance(width, dict)
        assert isinstance(apart, dict)
        cells = []
        for method in METHODS:
            values = [value for row in found[method].values() for value in row.values()]
            cells.append(
                f"{min(values):.1f} to {max(values):.1f} ({width[method]['per_keypoint']['0.1']:.2f})"
            )
        rows.append(
            [str(result["name"]), f"{apart['per_keypoint']['0.1']:.2f}", f"{result['pairs']:,}", *cells]
        )
    largest = max(results, key=lambda result: int(str(result["pairs"])))
    return _PAGE.format(
        draws=draws,
        resamples=resamples,
        table=table(["images, pairs and seeds", "seeds apart", "pairs", *METHODS], rows, left=(0,)),
        seconds=largest["cpu_seconds_an_interval"],
    )


def main() -> None:
    """Run the study and write its results."""
    study("coverage_seeds", __doc__ or "", SEEDED, coverage, page, alphas=ALPHAS)


if __name__ == "__main__":
    main()
