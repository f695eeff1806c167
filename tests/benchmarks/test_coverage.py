"""A small part of the study in benchmarks/coverage.py, with a fixed seed."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from peftcorr.metrics.bootstrap import estimates
from tests.scripts import script as load_script


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("coverage")


def lowest_and_highest(found: dict[str, dict[str, dict[str, float]]], method: str) -> tuple[float, float]:
    values = [value for row in found[method].values() for value in row.values()]
    return min(values), max(values)


def test_intervals_cover_and_those_of_the_bootstrap_over_pairs_do_not(script: ModuleType) -> None:
    scenario = script.Scenario("small", 4, 8, 1.0, (2, 8), 0.2, 0.2, 0.04)
    result = script.coverage(scenario, draws=120, resamples=200, seed=0)
    found = result["coverage"]
    assert isinstance(found, dict)
    low, high = lowest_and_highest(found, "peftcorr")
    assert low > 88  # two standard errors of 120 draws are 4 points
    assert high < 99.5
    assert lowest_and_highest(found, "naive")[1] < 75
    assert "| small | 40 % | 224 |" in script.page([result], 120, 200)


def test_without_image_effects_the_plain_percentiles_are_too_wide_and_ours_are_not(
    script: ModuleType,
) -> None:
    result = script.coverage(
        script.Scenario("none", 4, 8, 1.0, (4, 4), 0.0, 0.0, 0.0), draws=60, resamples=200, seed=0
    )
    width = result["width"]
    assert isinstance(width, dict)
    ours, plain, naive = (
        width[method]["per_keypoint"]["0.1"] for method in ("peftcorr", "plain percentiles", "naive")
    )
    assert ours < 1.35 * naive
    assert plain > 1.35 * naive


def test_the_known_pck_is_the_mean_of_the_draws(script: ModuleType) -> None:
    benchmark = script.Benchmark(script.Scenario("small", 3, 8, 0.5, (1, 9), 0.1, 0.1, 0.1), seed=0)
    rng = np.random.default_rng(0)
    mean = np.mean([estimates(benchmark.draw(rng)) for _ in range(400)], axis=0)
    assert mean == pytest.approx(benchmark.truth(), abs=1.2)
