"""From a map to a point: known peaks, and brute force cell by cell."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from peftcorr.matching import PREDICTORS
from peftcorr.matching.predictors import (
    Argmax,
    KernelSoftmax,
    Predictor,
    Softargmax,
    WindowSoftargmax,
    label,
)

STRIDE = 14


def argmax() -> Predictor:
    return Argmax(Argmax.Config())


def window(radius: int = 2, temperature: float = 10.0) -> Predictor:
    return WindowSoftargmax(WindowSoftargmax.Config(radius=radius, temperature=temperature))


def softargmax(beta: float = 20.0) -> Predictor:
    return Softargmax(Softargmax.Config(beta=beta))


def kernel(sigma: float = 7.0, beta: float = 25.0, kernel_on: str = "scores") -> Predictor:
    return KernelSoftmax(KernelSoftmax.Config(sigma=sigma, beta=beta, kernel_on=kernel_on))  # type: ignore[arg-type]


def peaked(row: int, column: int, height: int = 5, width: int = 7) -> Tensor:
    values = torch.zeros(height, width)
    values[row, column] = 1
    return values


def brute(values: Tensor, temperature: float, radius: int | None = None) -> tuple[float, float]:
    """Mean patch centre under a softmax over the cells within `radius` of the peak (all when None)."""
    height, width = values.shape
    peak_row, peak_column = divmod(int(values.argmax()), width)
    total = x = y = 0.0
    for row in range(height):
        for column in range(width):
            if radius is not None and max(abs(row - peak_row), abs(column - peak_column)) > radius:
                continue
            weight = math.exp(temperature * (float(values[row, column]) - 1))
            total += weight
            x += weight * ((column + 0.5) * STRIDE - 0.5)
            y += weight * ((row + 0.5) * STRIDE - 0.5)
    return x / total, y / total


@pytest.mark.parametrize(
    ("row", "column", "point"), [(0, 0, (6.5, 6.5)), (4, 6, (90.5, 62.5)), (2, 5, (76.5, 34.5))]
)
def test_a_lone_peak_is_found_at_its_centre(row: int, column: int, point: tuple[float, float]) -> None:
    values = peaked(row, column)
    assert tuple(argmax().predict(values, STRIDE).tolist()) == point
    for sharp in (window(temperature=1e4), softargmax(1e4)):
        assert sharp.predict(values, STRIDE).tolist() == pytest.approx(point)


def test_x_is_along_columns() -> None:
    assert argmax().predict(peaked(1, 4), 10).tolist() == [44.5, 14.5]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("radius", "temperature"), [(2, 10.0), (1, 50.0), (0, 10.0), (9, 3.0)])
def test_window_is_minus_infinity_outside(seed: int, radius: int, temperature: float) -> None:
    """Times 0 would give every cell outside the weight exp(0): the point would be dragged to the middle."""
    values = torch.rand((6, 9), generator=torch.Generator().manual_seed(seed))
    found = window(radius, temperature).predict(values, STRIDE).tolist()
    assert found == pytest.approx(brute(values, temperature, radius), abs=1e-6)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 8), (5, 0), (5, 8), (1, 7), (0, 4)])
def test_window_is_clipped_at_the_border(row: int, column: int) -> None:
    values = torch.full((6, 9), 0.5)
    values[row, column] = 0.7
    found = window().predict(values, STRIDE).tolist()
    assert found == pytest.approx(brute(values, 10, 2), abs=1e-9)


def test_a_second_peak_outside_the_window_has_no_say() -> None:
    values = peaked(1, 1, 6, 12)
    values[4, 10] = 0.999
    assert window().predict(values, STRIDE).tolist() == window().predict(peaked(1, 1, 6, 12), STRIDE).tolist()
    assert softargmax().predict(values, STRIDE)[0] > 60


def test_a_radius_of_nought_is_argmax() -> None:
    values = torch.rand(20, 6, 9)
    assert torch.equal(window(radius=0).predict(values, STRIDE), argmax().predict(values, STRIDE))


@pytest.mark.parametrize("beta", [1.0, 20.0, 200.0])
def test_softargmax_is_the_mean_over_the_whole_map(beta: float) -> None:
    values = torch.rand((6, 9), generator=torch.Generator().manual_seed(3))
    found = softargmax(beta).predict(values, STRIDE).tolist()
    assert found == pytest.approx(brute(values, beta), abs=1e-4)


def test_softargmax_of_a_flat_map_is_the_middle_of_the_image() -> None:
    assert softargmax().predict(torch.zeros(4, 6), 10).tolist() == pytest.approx([29.5, 19.5])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kernel_on", ["weights", "scores"])
@pytest.mark.parametrize(("sigma", "beta"), [(0.5, 10.0), (2.0, 25.0), (7.0, 3.0), (7.0, 300.0)])
def test_a_gaussian_round_the_peak(seed: int, kernel_on: str, sigma: float, beta: float) -> None:
    """Cell by cell: the kernel times the softmax and the sum of both, or the softmax of the kernel times the map."""
    values = torch.rand((6, 9), generator=torch.Generator().manual_seed(seed)) - 0.3
    peak_row, peak_column = divmod(int(values.argmax()), 9)
    total = x = y = 0.0
    for row in range(6):
        for column in range(9):
            squared = (row - peak_row) ** 2 + (column - peak_column) ** 2
            gaussian = math.exp(-squared / (2 * sigma**2))
            value = float(values[row, column])
            weight = (
                gaussian * math.exp(beta * (value - 1))
                if kernel_on == "weights"
                else math.exp(beta * (gaussian * value - 1))
            )
            total += weight
            x += weight * ((column + 0.5) * STRIDE - 0.5)
            y += weight * ((row + 0.5) * STRIDE - 0.5)
    found = kernel(sigma, beta, kernel_on).predict(values, STRIDE).tolist()
    assert found == pytest.approx((x / total, y / total), abs=1e-4)


def test_a_kernel_on_the_weights_fades_a_second_peak_out() -> None:
    values = peaked(1, 1, 6, 30)
    values[4, 28] = 0.999
    near = kernel(2.0, kernel_on="weights").predict(values, STRIDE)
    assert near.tolist() == pytest.approx(argmax().predict(values, STRIDE).tolist(), abs=0.1)
    assert softargmax().predict(values, STRIDE)[0] > 150


def test_a_kernel_on_the_scores_leaves_far_cells_the_weight_of_a_similarity_of_nought() -> None:
    values = 0.1 * peaked(0, 0, 20, 20)
    assert kernel(1.0, kernel_on="weights").predict(values, STRIDE)[0] < 20
    assert kernel(1.0).predict(values, STRIDE)[0] > 100


@pytest.mark.parametrize(
    "predictor", [argmax(), window(), softargmax(), kernel()], ids=lambda p: type(p).__name__
)
def test_any_number_of_maps_at_once(predictor: Predictor) -> None:
    maps = torch.rand(2, 5, 6, 9)
    points = predictor.predict(maps, STRIDE)
    assert points.shape == (2, 5, 2)
    assert points.dtype == torch.float64
    for i in range(2):
        for j in range(5):
            torch.testing.assert_close(points[i, j], predictor.predict(maps[i, j], STRIDE))
    assert predictor.predict(maps[0, :0], STRIDE).shape == (0, 2)


def test_maps_in_half_precision_lose_no_position() -> None:
    """A position of a 518-pixel image has no exact bfloat16; the prediction is in double precision all the same."""
    values = peaked(36, 35, 37, 37).bfloat16()
    assert argmax().predict(values, STRIDE).tolist() == [496.5, 510.5]
    assert window(temperature=1e4).predict(values, STRIDE).tolist() == [496.5, 510.5]


def test_labels_name_the_options() -> None:
    assert label("argmax", Argmax.Config()) == "argmax"
    assert (
        label("window_softargmax", WindowSoftargmax.Config()) == "window_softargmax(radius=2,temperature=10)"
    )

    class Plugged(Predictor.Config):
        sides: tuple[int, ...] = (1, 2)
        most: int | None = None
        whole: bool = True

    assert label("plugged", Plugged()) == "plugged(sides=[1, 2],most=null,whole=true)"
    assert label("softargmax", Softargmax.Config(beta=0.5)) == "softargmax(beta=0.5)"
    assert (
        label("kernel_softmax", KernelSoftmax.Config()) == "kernel_softmax(sigma=7,beta=25,kernel_on=scores)"
    )


def test_men_et_al_are_the_defaults() -> None:
    assert WindowSoftargmax.Config() == WindowSoftargmax.Config(radius=2, temperature=10)
    assert set(PREDICTORS.names()) >= {"argmax", "softargmax", "window_softargmax"}


@pytest.mark.parametrize("options", [{"radius": -1}, {"temperature": 0}, {"radiu": 2}])
def test_impossible_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        WindowSoftargmax.Config(**options)
