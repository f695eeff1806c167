"""A small part of the study in benchmarks/coverage_seeds.py, with a fixed seed."""

from __future__ import annotations

import numpy as np
import pytest
from coverage_seeds import SEEDED, Seeded, coverage, draw, page
from scenarios import Benchmark, Scenario

from peftcorr.metrics.bootstrap import estimates

SMALL = Scenario("small", 4, 8, 1.0, (2, 6), 0.1, 0.1, 0.04)


def test_the_interval_covers_and_that_of_the_images_alone_does_not() -> None:
    result = coverage(Seeded(SMALL, 3, 0.2), draws=60, resamples=100, seed=0)
    found = result["coverage"]
    assert isinstance(found, dict)
    covered = {
        method: [value for row in by.values() for value in row.values()] for method, by in found.items()
    }
    assert min(covered["peftcorr"]) > 85  # two standard errors of 60 draws are 6 points
    assert max(covered["images alone"]) < 85
    assert "| small, 3 seeds |" in page([result], 60, 100)


def test_the_known_pck_is_the_mean_over_draws_and_seeds() -> None:
    scenario, benchmark = Seeded(SMALL, 2, 0.05), Benchmark(SMALL, 0)
    rng = np.random.default_rng(0)
    runs = [run for _ in range(200) for run in draw(benchmark, scenario, rng)]
    assert np.mean([estimates(run) for run in runs], axis=0) == pytest.approx(benchmark.truth(), abs=1.5)


def test_a_name_says_what_it_resembles() -> None:
    assert SEEDED[5].name == "10 x 10 images, without effect, 3 seeds"


def test_nine_scenarios_of_two_three_and_five_seeds() -> None:
    assert len(SEEDED) == 9
    assert {one.seeds for one in SEEDED} == {2, 3, 5}
