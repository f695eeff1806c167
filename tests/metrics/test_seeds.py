from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from coverage_seeds import Seeded, draw
from scenarios import SCENARIOS, Benchmark
from scipy.special import stdtr, stdtrit

from peftcorr.errors import PeftCorrError
from peftcorr.metrics.bootstrap import estimates, influences, intervals, spread
from peftcorr.metrics.pair_scores import PairScores, pair_scores
from peftcorr.metrics.seeds import draws, method_intervals, p_values, seeds_of
from tests.metrics.made import drawn, table

ALPHAS = [0.05, 0.1]
IMAGES = {"cat": 7, "dog": 8}
SMALL = SCENARIOS[-1]


def seeds(*numbers: int) -> list[PairScores]:
    return [pair_scores(table(drawn(number, IMAGES)), ALPHAS) for number in numbers]


def made(count: int, seed: float, number: int = 0) -> list[PairScores]:
    """Runs of a method on the same images, with so much of the variance from the seeds."""
    scenario = Seeded(SMALL, count, seed)
    return draw(Benchmark(SMALL, 0), scenario, np.random.default_rng(number))


def test_a_single_run_has_the_interval_of_its_images() -> None:
    [run] = seeds(0)
    assert method_intervals([run], 300) == pytest.approx(intervals(run, 300), abs=1e-9)


def test_the_mean_over_runs_is_what_the_draws_lie_round() -> None:
    runs = seeds(0, 1, 2)
    mean = np.mean([estimates(run) for run in runs], axis=0)
    method = seeds_of(runs)
    assert estimates(method.mean) == pytest.approx(mean)
    assert draws([method], [1.0], 400).mean(axis=0) == pytest.approx(mean, abs=0.3)


def test_the_parts_are_those_of_the_definition() -> None:
    """Against sums written out run by run."""
    runs = made(3, 0.01)
    method = seeds_of(runs)
    values = [estimates(run) for run in runs]
    own = np.zeros(method.own.size)
    mean = sum(influences(run) for run in runs) / 3
    for run in runs:
        own += spread(run, (influences(run) - mean).reshape(own.size, -1))[0] ** 2 / 2 / 3
    assert method.own.reshape(-1) == pytest.approx(own)
    for at in np.ndindex(*method.error.shape):
        [*ours] = (float(value[at]) for value in values)
        middle = sum(ours) / 3
        assert method.error[at] == pytest.approx((sum((one - middle) ** 2 for one in ours) / 2 / 3) ** 0.5)


def test_the_same_run_under_other_names_is_no_wider_than_one() -> None:
    [run] = seeds(0)
    assert method_intervals([run, run, run], 300) == pytest.approx(intervals(run, 300), abs=1e-9)


def test_fewer_seeds_are_wider_and_seeds_that_differ_more_too() -> None:
    def width(runs: list[PairScores]) -> float:
        ends = method_intervals(runs, 400)
        assert ends is not None
        return float(ends[0, 1, 1] - ends[0, 1, 0])

    widths = [np.mean([width(made(count, 0.02, number)) for number in range(6)]) for count in (2, 3, 5)]
    assert all(one > other for one, other in pairwise(widths))
    assert width(made(3, 0.05)) > width(made(3, 0.0))


def test_two_seeds_reach_as_far_as_student_says() -> None:
    """Where they differ far more than the images do, the ends are near 12.7 standard errors away."""
    [run] = seeds(0)
    other = PairScores(**{**vars_of(run), "correct": run.keypoints - 0.05 * (run.keypoints - run.correct)})
    method = seeds_of([run, other])
    moved = draws([method], [1.0], 2000)
    far = np.quantile(moved[:, 0, 1], 0.975) - estimates(method.mean)[0, 1]
    assert 9 * method.error[0, 1] < far < 14 * method.error[0, 1]


def vars_of(pairs: PairScores) -> dict[str, object]:
    return {name: getattr(pairs, name) for name in PairScores.__dataclass_fields__}


def test_p_values_count_the_smaller_side() -> None:
    drawn_anew = np.array([[-1.0, -1.0], [2.0, 1.0], [3.0, 0.5], [4.0, -0.5]])
    assert p_values(drawn_anew, np.array([2.0, 0.0]), np.array([6.0, 6.0])) == pytest.approx([4 / 5, 1.0])


def test_p_values_below_what_draws_can_count_are_students() -> None:
    """The limits are those of the interval, so that both say the same where an end is at 0."""
    quantiles = stdtrit(12, (np.arange(2000) + 0.5) / 2000)  # a single run's: their width is Student's
    values = np.array([1.0, 6.0, 12.0, -12.0])
    found = p_values(values + quantiles[:, None], values, np.full(4, 12.0))
    assert found[0] == pytest.approx(2 * stdtr(12, -1.0), rel=0.01), "counted"
    assert found[1:] == pytest.approx(2 * stdtr(12, -np.abs(values[1:])), rel=0.05)
    assert found[3] == pytest.approx(found[2])
    long = p_values(values[2:] + quantiles[:, None], values[2:], np.ones(2))
    assert (long <= 2 / 2001).all(), "never above what was counted"
    still = p_values(np.full((2000, 1), 12.0), np.array([12.0]), np.array([12.0]))
    assert still == pytest.approx(2 / 2001), "nothing varied, so that nothing says more"


def test_runs_on_other_pairs_are_refused() -> None:
    [run] = seeds(0)
    other = pair_scores(table(drawn(1, {"cat": 7, "dog": 7})), ALPHAS)
    with pytest.raises(PeftCorrError, match="not scored on the same pairs"):
        seeds_of([run, other])


def test_too_few_images_have_none() -> None:
    assert method_intervals([pair_scores(table(drawn(0, {"cat": 3})), ALPHAS)] * 2) is None
