"""The adaptive flip: each pair is also matched from the mirrored source, and the way round that fits better is kept.

Zhang et al., "Telling Left from Right", CVPR 2024, in the form that needs no masks. Each image is encoded once more as
a source, mirrored before it is resized. How well two maps fit is the mean distance of their mutual nearest neighbours.
Where the mirrored source fits strictly better, a keypoint is looked for at the mirrored place of its partner (the right
ear for the left one); keypoints whose partner the pair does not have stay as they were.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peftcorr.data.correspondences import Correspondences, Floats, Geometry, Ints
from peftcorr.data.frame import FRAMINGS
from peftcorr.data.images import ImageStore
from peftcorr.data.scratch import ScratchRows
from peftcorr.engine.corners import asked
from peftcorr.engine.evaluate import Evaluator, Predicted, Split
from peftcorr.errors import PeftCorrError
from peftcorr.matching.conventions import Convention
from peftcorr.matching.predictors import Predictor, TargetPredictor
from peftcorr.matching.similarity import similarity
from peftcorr.metrics.symmetry import mirrors, sided

_NOWHERE = -1  # a keypoint that no pair has


def require_flip(convention: Convention, predictors: Sequence[Predictor]) -> None:
    """Refuse what the adaptive flip is not made for.

    Raises:
        PeftCorrError: naming the convention or the predictor.
    """
    if FRAMINGS[convention.name].mirror is None:
        raise PeftCorrError(f"flip=adaptive is not made for the convention {convention.name}: leave it out.")
    if asked(predictors):
        raise PeftCorrError(
            "flip=adaptive is not made for the predictor bilinear_argmax: leave one of them out."
        )


def require_one_process(processes: int) -> None:
    """Refuse several processes.

    Raises:
        PeftCorrError: if there are.
    """
    if processes > 1:
        raise PeftCorrError(
            "flip=adaptive compares whole maps, which processes do not exchange: start one process."
        )


def predict_with_flip(evaluator: Evaluator, split: Split, predictors: Sequence[Predictor]) -> Predicted:
    """As `Evaluator.predict`, with the adaptive flip.

    Raises:
        PeftCorrError: as that, `require_flip` and `require_one_process`.
    """
    require_flip(evaluator.convention, predictors)
    require_one_process(evaluator.accelerator.num_processes)
    plain = _Maps(len(split.data.images))
    predicted = evaluator.predict(split, predictors, plain.put)
    with torch.inference_mode():
        flipped = _Flipped(evaluator, split, predictors, plain).enter(predicted)
    evaluator.progress.say(
        f"Adaptive flip on {split.dataset.name}/{split.dataset.split}: {flipped:,} of {len(split.data.source):,} pairs "
        "are matched from the mirrored source."
    )
    return predicted


class _Maps:
    """The maps of all images of a split, on disk."""

    def __init__(self, images: int):
        self._rows = ScratchRows("feature maps of images and their mirror images")
        self._row = np.full(images, -1)

    def put(self, images: Ints, maps: Tensor) -> None:
        """Keep the maps (B, h, w, C) of some images."""
        self._row[images] = len(self._rows) + np.arange(len(images))
        self._rows.write(len(self._rows), maps.float().cpu())

    def take(self, image: int, device: torch.device) -> Tensor:
        """The map (h, w, C) of one image."""
        return self._rows.read([int(self._row[image])])[0].to(device)


class _MirrorImages(ImageStore):
    """Images whose left and right changed places before they are resized."""

    def _original(self, path: str, size: tuple[int, ...]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(super()._original(path, size)[:, ::-1])


class _Flipped:
    """The second pass."""

    def __init__(self, evaluator: Evaluator, split: Split, predictors: Sequence[Predictor], plain: _Maps):
        self._evaluator, self._split, self._predictors, self._plain = evaluator, split, predictors, plain
        self._data, self._device = split.data, evaluator.encoder.device
        self._partner = partners(split.data, split.dataset.name)
        self._mirrored = _Maps(len(split.data.images))
        self._geometry = Geometry(len(split.data.images), FRAMINGS[evaluator.convention.name].placing)
        frames = [split.store.frame(p, s) for p, s in zip(split.data.images, split.data.sizes, strict=True)]
        self._geometry.learn(np.arange(len(frames)), frames)

    def enter(self, predicted: Predicted) -> int:
        """Write what the mirrored sources predict over what was predicted; returns for how many pairs."""
        self._encode()
        first = np.searchsorted(self._data.pair, np.arange(len(self._data.source) + 1))
        flipped = 0
        for pair, (source, target) in enumerate(zip(self._data.source, self._data.target, strict=True)):
            rows = np.arange(first[pair], first[pair + 1])
            if not len(rows):
                continue
            feature = self._plain.take(target, self._device)
            mirrored = self._mirrored.take(source, self._device)
            if not distance(mirrored, feature) < distance(self._plain.take(source, self._device), feature):
                continue
            flipped += 1
            rows = rows[self._partner[rows] >= 0]
            if len(rows):
                self._predict(predicted, rows, int(source), int(target), mirrored, feature)
        return flipped

    def _encode(self) -> None:
        """Encode every source once more, mirrored."""
        encoder, store = self._evaluator.encoder, self._split.store
        again = _MirrorImages(store.image_root, store.size, store.mode)
        sources = np.unique(self._data.source)
        for start in range(0, len(sources), self._evaluator.batch):
            images = sources[start : start + self._evaluator.batch]
            with encoder.autocast():
                features = encoder.features(self._data, again, images)
            self._mirrored.put(images, self._evaluator.convention.kept(features.float()).permute(0, 2, 3, 1))

    def _predict(
        self, predicted: Predicted, rows: Ints, source: int, target: int, mirrored: Tensor, feature: Tensor
    ) -> None:
        convention, size = self._evaluator.convention, self._split.store.size
        stride = self._evaluator.encoder.backbone.stride
        places = self._places(self._data.source_points[self._partner[rows]], source)
        slot = torch.zeros(len(rows), dtype=torch.int64)
        queries = convention.queries(mirrored[None], slot, places, size, stride)
        maps = similarity(queries, convention.target(feature).permute(2, 0, 1)).cpu()
        predicted.peaks[rows] = maps.flatten(1).amax(1).numpy()
        place = 0
        for predictor in self._predictors:
            chosen = (
                predictor.for_target(feature.cpu()) if isinstance(predictor, TargetPredictor) else predictor
            )
            points = chosen.predict(maps, stride).double().numpy()
            points = points.reshape(predictor.points, len(rows), 2)
            back = self._geometry.to_original(
                convention.to_frame(points, size, stride), np.full(len(rows), target)
            )
            predicted.points[place : place + predictor.points, rows] = back
            place += predictor.points

    def _places(self, points: Floats, source: int) -> Floats:
        """Keypoints (K, 2) of the source as positions in the square that was made of its mirror image."""
        images = np.full(len(points), source)
        if FRAMINGS[self._evaluator.convention.name].mirror == "original":
            width = self._geometry.sizes[source, 0]
            return self._geometry.to_input(np.stack([width - 1 - points[:, 0], points[:, 1]], axis=1), images)
        placed = self._geometry.to_input(points, images)
        return np.stack([self._split.store.size - placed[:, 0], placed[:, 1]], axis=1)


def distance(source: Tensor, target: Tensor) -> float:
    """Mean distance of mutual nearest neighbours of two maps (h, w, C) of unit length."""
    cosine = source.flatten(0, 1) @ target.flatten(0, 1).T
    there, back = cosine.argmax(1), cosine.argmax(0)
    mutual = back[there] == torch.arange(len(there), device=there.device)
    nearest = cosine.gather(1, there[:, None])[:, 0][mutual]  # at least the best pair of all is one
    return float((2 - 2 * nearest.cpu().double()).clamp_min(0).sqrt().mean())


def partners(data: Correspondences, dataset: str) -> Ints:
    """Row of the partner of each correspondence in its own pair, (N,): its own if it has none, -1 if that is absent.

    The partner of a keypoint is its mirror image (`peftcorr.metrics.symmetry`).
    """
    category = np.array(data.categories)[data.target[data.pair]]
    number = {name: index for index, name in enumerate(data.keypoint_names)}
    partner = data.keypoint.astype(np.int64)
    for label in np.unique(category):
        other = np.arange(len(number))
        other[[number[name] for name in sided(dataset, str(label), data.keypoint_names)]] = _NOWHERE
        for name, mirrored in mirrors(dataset, str(label), data.keypoint_names).items():
            other[number[name]] = number[mirrored]
        own = category == label
        partner[own] = other[partner[own]]
    begin = data.pair.astype(np.int64) * len(number)
    order = np.argsort(begin + data.keypoint, kind="stable")
    keys = (begin + data.keypoint)[order]
    at = np.minimum(np.searchsorted(keys, begin + partner), len(keys) - 1)
    there = (partner != _NOWHERE) & (keys[at] == begin + partner)
    found: Ints = np.where(there, order[at], -1)
    return found
