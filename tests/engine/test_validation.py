from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from peftcorr.engine.evaluate import Predicted, Split
from peftcorr.engine.train import validation_pck
from peftcorr.engine.tuning import OTHERS, RADII, TEMPERATURES, Setting, grid, tune
from peftcorr.engine.validation import split_pck
from peftcorr.errors import PeftCorrError
from peftcorr.metrics.pck import PCK
from tests.engine.building import load_split
from tests.small_folder import write_folder


@pytest.fixture
def hiding(tmp_path: Path) -> Split:
    """A split in which every third keypoint is hidden and has no place; every fourth of all is predicted wrongly."""
    split = load_split(write_folder(tmp_path / "photographs"), tmp_path / "cache", "val")
    hidden = np.arange(len(split.data)) % 3 == 0
    truth = np.where(hidden[:, None], np.nan, split.data.target_points)
    return replace(split, data=replace(split.data, occluded=hidden, target_points=truth))


def predictions(split: Split) -> np.ndarray:
    points = np.nan_to_num(split.data.target_points)
    points[::4] += 1000.0
    return points


def expected(split: Split) -> float:
    assert split.data.occluded is not None
    seen = np.flatnonzero(~split.data.occluded)
    return 100 * float(np.mean(seen % 4 != 0))


def test_hidden_keypoints_do_not_count(hiding: Split) -> None:
    points = predictions(hiding)
    found = split_pck(hiding.data, points, [0.05, 0.2])
    assert found == {"0.05": pytest.approx(expected(hiding)), "0.2": pytest.approx(expected(hiding))}
    assert validation_pck(hiding.data, points) == pytest.approx(expected(hiding))
    assert hiding.data.n_visible == int((~hiding.data.occluded).sum()) < len(hiding.data)


def test_what_is_chosen_by_is_the_metric_of_evaluate(hiding: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PCK, "_compute", lambda *_, **__: {"per_keypoint": {"0.1": 12.5}})
    assert split_pck(hiding.data, predictions(hiding), [0.1]) == {"0.1": 12.5}


def test_where_nothing_is_said_of_occlusion_all_count(hiding: Split) -> None:
    data = replace(hiding.data, occluded=None, target_points=np.zeros_like(hiding.data.target_points))
    points = data.target_points.copy()
    points[0] += 1000.0
    assert split_pck(data, points, [0.1]) == {"0.1": pytest.approx(100 * (1 - 1 / len(data)))}
    assert data.n_visible == len(data)
    with pytest.raises(PeftCorrError, match="annotated keypoint is not finite"):
        split_pck(replace(hiding.data, occluded=None), points, [0.1])


def test_predictors_are_not_chosen_by_hidden_keypoints(
    hiding: Split,
) -> None:
    class Bench:
        """Gives the split to whoever asks for val."""

        def split(self, *arguments: Any) -> Split:
            return hiding

    class Foreseeing:
        """Predicts the same points with whatever predictor."""

        encoder = SimpleNamespace(backbone=SimpleNamespace(config=None))

        def predict(self, split: Split, predictors: Any) -> Predicted:
            points = np.stack([predictions(hiding)] * (len(OTHERS) + 1))
            return Predicted(points, np.zeros(len(split.data), np.float32))

    bench: Any = Bench()
    evaluator: Any = Foreseeing()
    source: Any = SimpleNamespace(splits=lambda: ["val"])
    found = tune(source, evaluator, bench, [Setting(radius=1, temperature=5.0)], [0.1])
    assert [pck["0.1"] for pck in found.by_label().values()] == [pytest.approx(expected(hiding))] * 5
    assert found.n_keypoints == hiding.data.n_visible


def test_the_grid_is_the_one_that_the_window_was_chosen_on() -> None:
    """`leaderboard/window.md` has it; a setting more or less, and ``tuned`` is another predictor."""
    assert RADII == (0, 1, 2, 3, 4, 5, 6, 7)
    assert TEMPERATURES == (5, 10, 20, 30, 40, 60, 80, 100, 150, 200)
    assert OTHERS == ("argmax", "upsampled_argmax", "softargmax", "kernel_softmax")
    assert len(grid(RADII, TEMPERATURES)) == 1 + 7 * 10


def test_a_grid_has_every_setting_once_in_order() -> None:
    def settings(*given: Any) -> list[tuple[int, float]]:
        return [(setting.radius, setting.temperature) for setting in grid(*given)]

    assert settings([2, 1, 2], [40, 5.5]) == [(1, 5.5), (1, 40), (2, 5.5), (2, 40)]
    assert settings([0, 1], [40, 5]) == [(0, 5), (1, 5), (1, 40)]
    assert settings([0], [40]) == [(0, 40)]


@pytest.mark.parametrize(
    "wrong", [([], [1]), ([1], []), ([-1], [1]), ([1], [0]), ([1], [-1, 5]), ([1], [np.inf]), ([1], [np.nan])]
)
def test_an_impossible_grid_is_refused(wrong: Any) -> None:
    with pytest.raises(PeftCorrError, match="--radius of 0 or more and --temperature above 0"):
        grid(*wrong)
