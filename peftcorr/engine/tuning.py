"""Choosing the predictor of a backbone on a validation split: one evaluation pass for every candidate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from peftcorr.config import make
from peftcorr.data.base import DatasetSource
from peftcorr.data.guard import selecting
from peftcorr.engine.evaluate import Evaluator, Split
from peftcorr.engine.validation import split_pck
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError, shown
from peftcorr.matching import PREDICTORS
from peftcorr.matching.predictors import Predictor, WindowSoftargmax, label
from peftcorr.matching.window_grid import WindowGrid
from peftcorr.metrics.aggregate import alpha_key

RADII = (0, 1, 2, 3, 4, 5, 6, 7)
TEMPERATURES = (5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0, 150.0, 200.0)
OTHERS = ("argmax", "upsampled_argmax", "softargmax", "kernel_softmax")  # at their defaults, to stand beside

Setting = WindowSoftargmax.Config
Pck = dict[str, float]  # threshold -> percent per keypoint


def grid(radii: Sequence[int], temperatures: Sequence[float]) -> list[Setting]:
    """Every combination, the smaller window first; a radius of 0 is argmax, whatever the temperature, and comes once.

    Raises:
        PeftCorrError: if a value is impossible.
    """
    if not radii or not temperatures or min(radii) < 0 or not all(0 < t < math.inf for t in temperatures):
        raise PeftCorrError(
            "A grid needs --radius of 0 or more and --temperature above 0, at least one of each."
        )
    temperatures = sorted(set(temperatures))
    return [
        Setting(radius=radius, temperature=temperature)
        for radius, temperature in product(sorted(set(radii)), temperatures)
        if radius > 0 or temperature == temperatures[0]
    ]


@dataclass(frozen=True)
class Tuning:
    """PCK per keypoint of every candidate on one split.

    Attributes:
        dataset: name of the dataset.
        n_pairs, n_keypoints: of the split; keypoints that their target hides are not counted.
        windows: of every setting of the grid.
        others: of the other predictors, by label.
    """

    dataset: str
    n_pairs: int
    n_keypoints: int
    windows: dict[Setting, Pck]
    others: dict[str, Pck]

    def best(self, alpha: float) -> Setting:
        """The setting with the highest PCK at a threshold; of equal ones the smallest window, then temperature."""
        return max(self.windows, key=lambda setting: self.windows[setting][alpha_key(alpha)])

    def by_label(self) -> dict[str, Pck]:
        """All of them by the names that they have in records."""
        return self.others | {label("window_softargmax", s): pck for s, pck in self.windows.items()}


def tune(
    source: DatasetSource,
    evaluator: Evaluator,
    bench: Workbench,
    settings: Sequence[Setting],
    alphas: Sequence[float],
) -> Tuning:
    """Score every candidate on a dataset's val split; the test split stays closed.

    Args:
        source: the dataset.
        evaluator: has the backbone, with its adapter if it has one.
        settings: of ``window_softargmax``.
        alphas: thresholds.

    Raises:
        PeftCorrError: if there is no val split.
    """
    with selecting("the tuning of the predictor"):
        if "val" not in source.splits():
            raise PeftCorrError(
                f"The dataset {shown(source.name)} has no val split to choose a predictor on (it has "
                f"{', '.join(source.splits()) or 'none'}): choose another --dataset."
            )
        val = bench.split(source, "val", evaluator.encoder.backbone.config)
        others = [make(PREDICTORS, {"name": name}) for name in OTHERS]
        scores = scored(val, evaluator, [*others, WindowGrid(settings)], alphas)
    return Tuning(
        val.dataset.name,
        len(val.dataset),
        val.data.n_visible,
        dict(zip(settings, scores[len(OTHERS) :], strict=True)),
        {label(name, p.config): pck for name, p, pck in zip(OTHERS, others, scores, strict=False)},
    )


def scored(
    split: Split, evaluator: Evaluator, predictors: Sequence[Predictor], alphas: Sequence[float]
) -> list[Pck]:
    """PCK per keypoint of every predictor, a grid's settings one after another, in one pass over a split."""
    return [split_pck(split.data, points, alphas) for points in evaluator.predict(split, predictors).points]
