"""A model that matches pictures: the same code as evaluation, on images of any origin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from peftcorr.backbones import Backbone
from peftcorr.data.frame import FRAMINGS, ResizeMode
from peftcorr.data.given import Given, GivenImages, Picture, picture, pictures
from peftcorr.data.images import Frame
from peftcorr.engine.evaluate import Evaluator, Predicted
from peftcorr.engine.plan import Model as Parts
from peftcorr.engine.workbench import Workbench
from peftcorr.errors import PeftCorrError
from peftcorr.matching.predictors import Predictor
from peftcorr.model.heat import Maps, in_pixels
from peftcorr.model.questions import apart, checked_points, paired
from peftcorr.recipe import Recipe
from peftcorr.results.record import Record
from peftcorr.strategies import Strategy

Floats = NDArray[np.float64]
Similarities = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Model:
    """A backbone with its adapter, ready to match; `peftcorr.load` makes it. Any number of threads may use it.

    Attributes:
        recipe: what decides its numbers: strategy, backbone, image size, predictors.
        record: of the run that trained it; None for a backbone as it comes.
        parts: what backbone and strategy are made of; the weights are among them.
        backbone: with its adapter, in evaluation mode, on its device.
        strategy: as it is applied to the backbone.
        predictors: read points off similarities; `match` uses the first, `peftcorr.evaluate` scores all.
    """

    recipe: Recipe
    record: Record | None
    parts: Parts
    backbone: Backbone
    strategy: Strategy
    predictors: tuple[Predictor, ...]
    bench: Workbench = field(repr=False)
    evaluator: Evaluator = field(repr=False)
    _busy: RLock = field(default_factory=RLock, repr=False)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.evaluator.encoder.device

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other threads from using it in the block: a backbone is told the categories of its next batch."""
        with self._busy:
            yield

    def match(
        self,
        image_a: Given,
        image_b: Given | Sequence[Given],
        points_a: ArrayLike,
        *,
        category: str | None = None,
    ) -> tuple[Floats, Similarities]:
        """Find points of one image in another, or in many.

        Every image is encoded once: the maps of the last ones are kept by their content. A run's convention holds here
        too; its adaptive flip does not, as that needs the names of the points.

        Args:
            image_a: path, PIL image, or uint8 array (H, W, 3) or (H, W). Files and PIL images are turned as viewers
                show them.
            image_b: likewise, or a list of them.
            points_a: x, y (N, 2) in pixels of `image_a` as it is shown, pixel centres on integers.
            category: of the object, for a backbone whose prompt names it; others take no notice.

        Returns:
            points x, y (N, 2), float64, in pixels of `image_b`, and the cosine similarity (N,), float32, that is the
            highest of each point's map. For a list of M images (M, N, 2) and (M, N).

        Raises:
            PeftCorrError: if an image cannot be decoded, the points are not (N, 2) or one is outside of the image, or
                the category is missing.
        """
        first, others = picture(image_a, "image_a"), pictures(image_b, "image_b")
        points = checked_points(points_a, first, "points_a")
        found = self._predicted(first, others, points, self.predictors[0], category)
        shape = (len(others), len(points))
        matched, similarity = found.points[0].reshape(*shape, 2), found.peaks.reshape(shape)
        return (matched, similarity) if isinstance(image_b, list | tuple) else (matched[0], similarity[0])

    def heatmap(
        self, image_a: Given, image_b: Given, point: ArrayLike, *, category: str | None = None
    ) -> Similarities:
        """Cosine similarity of a point of an image with every pixel of another.

        The map of the feature cells, from which `match` reads its point, is interpolated bilinearly between their
        centres and clamped at the border.

        Args:
            image_a: as in `match`.
            image_b: as in `match`.
            point: x, y in pixels of `image_a`; or several (N, 2).
            category: as in `match`.

        Returns:
            (H, W), float32, -1 to 1, in the pixels of `image_b`; of several points (N, H, W).

        Raises:
            PeftCorrError: as `match`.
        """
        first, second = picture(image_a, "image_a"), picture(image_b, "image_b")
        one = np.ndim(point) == 1
        points = checked_points(cast(ArrayLike, [point]) if one else point, first, "point")
        frame = Frame(*second.size, self.backbone.config.image_size, self._resize)
        found = []
        for each in points:  # one at a time, as rows of the split's maps come in an order of their own
            maps = Maps()
            self._predicted(first, [second], each[None], maps, category)
            found.append(in_pixels(maps.last.numpy(), frame, self.backbone.stride))
        return found[0] if one else np.array(found, dtype=np.float32).reshape(-1, *second.pixels.shape[:2])

    def features(
        self, images: Given | Sequence[Given], *, categories: str | Sequence[str] | None = None
    ) -> Tensor:
        """Features of images, as the backbone with its adapter gives them: not normalised.

        Args:
            images: one, or a list, each as in `match`.
            categories: of each, or one for all, for a backbone whose prompt names them.

        Returns:
            (B, C, h, w), float32, on the model's device; without gradient.

        Raises:
            PeftCorrError: as `match`, or if there are as many categories as not images.
        """
        given = pictures(images, "images")
        count, batch = len(given), self.evaluator.batch
        if not given:
            raise PeftCorrError("images is empty: give one at least.")
        names = [categories] * count if isinstance(categories, str) else categories
        if names is not None and len(names) != count:
            raise PeftCorrError(f"There are {count} images, but {len(names)} categories: give one each.")
        data, store = apart(given, self._categories(names, count)), self._store(given)
        encoder = self.evaluator.encoder
        with self.alone(), torch.no_grad(), encoder.autocast():
            parts = [
                encoder.features(data, store, numbers)
                for numbers in np.split(np.arange(count), range(batch, count, batch))
            ]
        return torch.cat(parts).float()

    def _predicted(
        self,
        first: Picture,
        others: Sequence[Picture],
        points: Floats,
        predictor: Predictor,
        category: str | None,
    ) -> Predicted:
        [name] = self._categories(None if category is None else [category], 1)
        data = paired(first, others, points, name)
        with self.alone():
            return self.evaluator.matched(
                data, self._store([first, *others]), [predictor], "match", dataset=self._dataset
            )

    def _store(self, pictures: Sequence[Picture]) -> GivenImages:
        return GivenImages({one.key: one for one in pictures}, self.backbone.config.image_size, self._resize)

    @property
    def _dataset(self) -> str:
        """Name of what the run was trained on: a convention may treat the images of some in a way of their own."""
        return "" if self.record is None else self.record.dataset

    @property
    def _resize(self) -> ResizeMode:
        """How images become square."""
        return FRAMINGS[self.recipe.convention].resized(self._dataset, self.backbone.config.resize)

    def _categories(self, given: Sequence[str] | None, count: int) -> list[str]:
        """A category for each image, where the backbone asks for one.

        Raises:
            PeftCorrError: if it does, and none was given.
        """
        if not self.backbone.uses_categories:
            return [""] * count
        if given is None:
            raise PeftCorrError(
                f"The prompt of {self.recipe.backbone['name']} names what is on the image: give category, as in "
                "category='cat'."
            )
        return list(given)
