"""Choosing the predictor of a backbone on a validation split: one evaluation pass for every candidate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from accelerate import Accelerator

from peftcorr.backbones import Backbone
from peftcorr.config import make
from peftcorr.data.guard import selecting
from peftcorr.engine.evaluate import Split, predict
from peftcorr.engine.validation import split_pck
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError
from peftcorr.features.encode import Encoder, autocast
from peftcorr.matching import PREDICTORS
from peftcorr.matching.predictors import Predictor, WindowSoftargmax, label
from peftcorr.matching.window_grid import WindowGrid
from peftcorr.metrics.aggregate import alpha_key
from peftcorr.recipe import Recipe

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
    recipe: Recipe,
    backbone: Backbone,
    bench: Workbench,
    accelerator: Accelerator,
    settings: Sequence[Setting],
    alphas: Sequence[float],
) -> Tuning:
    """Score every candidate on the dataset's val split; the test split stays closed.

    Args:
        recipe: names dataset, input size and precision of the scoring.
        backbone: with its adapter, if it has one.
        settings: of ``window_softargmax``.
        alphas: thresholds.

    Raises:
        PeftCorrError: if there is no val split.
    """
    with selecting("the tuning of the predictor"):
        source = bench.source(recipe.dataset)
        if "val" not in source.splits():
            raise PeftCorrError(
                f"The dataset {recipe.dataset['name']!r} has no val split to choose a predictor on (it has "
                f"{', '.join(source.splits()) or 'none'}): choose another --dataset."
            )
        _, config = recipe.backbone_class()
        val = bench.split(recipe.dataset, "val", config.image_size, config.resize, None)
        others = [make(PREDICTORS, {"name": name}) for name in OTHERS]
        scores = scored(recipe, backbone, val, [*others, WindowGrid(settings)], bench, accelerator, alphas)
    return Tuning(
        val.dataset.name,
        len(val.dataset),
        val.data.n_visible,
        dict(zip(settings, scores[len(OTHERS) :], strict=True)),
        {label(name, p.config): pck for name, p, pck in zip(OTHERS, others, scores, strict=False)},
    )


def scored(
    recipe: Recipe,
    backbone: Backbone,
    split: Split,
    predictors: Sequence[Predictor],
    bench: Workbench,
    accelerator: Accelerator,
    alphas: Sequence[float],
) -> list[Pck]:
    """PCK per keypoint of every predictor, a grid's settings one after another, in one pass over a split."""
    device = accelerator.device
    encoder = Encoder(backbone.to(device), None, device, autocast(recipe.score_precision, device))
    batch, memory = recipe.encode_batch, bench.memory
    predicted = predict(split, encoder, predictors, accelerator, batch, bench.progress, memory)
    return [split_pck(split.data, points, alphas) for points in predicted]
