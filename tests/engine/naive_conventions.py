"""Published systems' matching retyped from their formulas, a keypoint at a time, in double precision.

Nothing of `peftcorr.matching` is used. ``size`` is S, ``patch`` p; a system is a class with the steps that it has.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

Array = np.ndarray
Encode = Callable[
    [Array], Array
]  # pixels (S, S, 3) from 0 to 1, and whether each is normalised padding -> (C, n, n)


class System:
    """Stretched by PIL's bicubic filter, half-pixel throughout: the protocol's own."""

    def __init__(self, size: int, patch: int, dataset: str):
        self.size, self.patch, self.n, self.dataset = size, patch, size // patch, dataset

    def pixels(self, image: Image.Image) -> Array:
        """(S, S, 3), from 0 to 1; NaN where 0 is put after normalising."""
        return np.asarray(image.resize((self.size, self.size), Image.Resampling.BICUBIC)) / 255

    def to_frame(self, x: float, y: float, image: Image.Image) -> tuple[float, float]:
        return tuple((v + 0.5) * self.size / side - 0.5 for v, side in zip((x, y), image.size, strict=True))

    def from_frame(self, x: float, y: float, image: Image.Image) -> tuple[float, float]:
        return tuple((v + 0.5) * side / self.size - 0.5 for v, side in zip((x, y), image.size, strict=True))

    def query(self, features: Array, x: float, y: float) -> Array:
        unit = features / np.linalg.norm(features, axis=0)
        found = bilinear(unit, (x + 0.5) / self.patch - 0.5, (y + 0.5) / self.patch - 0.5)
        return found / np.linalg.norm(found)

    def map(self, query: Array, features: Array) -> Array:
        return np.einsum("c,chw->hw", query, features / np.linalg.norm(features, axis=0))

    def predictors(self) -> list[Callable[[Array], tuple[float, float]]]:
        return [peak]

    def back(self, u: float, v: float) -> tuple[float, float]:
        return (u + 0.5) * self.patch - 0.5, (v + 0.5) * self.patch - 0.5

    def predict(self, source: Image.Image, target: Image.Image, x: float, y: float, encode: Encode) -> Array:
        """(P, 2) in the target's own pixels."""
        query = self.query(encode(self.pixels(source)), *self.to_frame(x, y, source))
        similarity = self.map(query, encode(self.pixels(target)))
        return np.array(
            [self.from_frame(*self.back(*predict(similarity)), target) for predict in self.predictors()]
        )


class Dift(System):
    def predict(self, source: Image.Image, target: Image.Image, x: float, y: float, encode: Encode) -> Array:
        whole = [enlarged(encode(self.pixels(image)), *image.size) for image in (source, target)]
        query = whole[0][:, math.floor(y), math.floor(x)]
        cosine = np.einsum("c,chw->hw", query, whole[1])
        cosine = cosine / np.linalg.norm(query) / np.linalg.norm(whole[1], axis=0)
        row, column = np.unravel_index(int(cosine.argmax()), cosine.shape)
        return np.array([[column, row]], dtype=float)


class GeoAware(System):
    less = 0.0

    def _inside(self, image: Image.Image) -> tuple[list[int], list[int]]:
        longest = max(image.size)
        sides = [self.size if side == longest else round(self.size * side / longest) for side in image.size]
        return sides, [(self.size - side) // 2 for side in sides]

    def pixels(self, image: Image.Image) -> Array:
        (width, height), (left, top) = self._inside(image)
        square = np.zeros((self.size, self.size, 3), dtype=np.uint8)
        small = image.resize((width, height), Image.Resampling.LANCZOS)
        square[top : top + height, left : left + width] = np.asarray(small)
        return square / 255

    def to_frame(self, x: float, y: float, image: Image.Image) -> tuple[float, float]:
        scale, (left, top) = self.size / max(image.size), self._inside(image)[1]
        return x * scale + left, y * scale + top

    def from_frame(self, x: float, y: float, image: Image.Image) -> tuple[float, float]:
        scale, (left, top) = self.size / max(image.size), self._inside(image)[1]
        return (x - left) / scale, (y - top) / scale

    def query(self, features: Array, x: float, y: float) -> Array:
        column, row = int(x * self.n / self.size), int(y * self.n / self.size)
        flat = features.reshape(len(features), -1)
        cell = min(row * self.n + column, self.n**2 - 1)  # there is an error beyond
        found = flat[:, cell]  # a negative number counts from the end
        return found / np.linalg.norm(found)

    def predictors(self) -> list[Callable[[Array], tuple[float, float]]]:
        return [lambda s: windowed(s, 7, 50), lambda s: windowed(s, 5, 50), peak]

    def back(self, u: float, v: float) -> tuple[float, float]:
        return tuple(min(max(w, 0), self.n - 1) * self.patch + self.patch // 2 - self.less for w in (u, v))


class SdDino(GeoAware):
    less = 0.5

    def predictors(self) -> list[Callable[[Array], tuple[float, float]]]:
        return [peak]


class Sd4Match(System):
    beta = 1 / 0.04

    def pixels(self, image: Image.Image) -> Array:
        floats = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].double() / 255
        square = functional.interpolate(
            floats, (self.size, self.size), mode="bilinear", align_corners=False, antialias=False
        )
        return square[0].permute(1, 2, 0).numpy()

    def scale(self, image: Image.Image) -> tuple[float, float]:
        return self.size / image.size[0], self.size / image.size[1]

    def to_frame(self, x: float, y: float, image: Image.Image) -> tuple[float, float]:
        scaled = (v * s for v, s in zip((x, y), self.scale(image), strict=True))
        return tuple(min(max(v, 1e-4), self.size - 1 - 1e-4) for v in scaled)

    def from_frame(self, x: float, y: float, image: Image.Image) -> tuple[float, float]:
        return tuple(v / s for v, s in zip((x, y), self.scale(image), strict=True))

    def query(self, features: Array, x: float, y: float) -> Array:
        found = bilinear(features, *(v * (self.n - 1) / (self.size - 1) for v in (x, y)))
        return found / (np.linalg.norm(found) + 1e-6)

    def map(self, query: Array, features: Array) -> Array:
        return np.einsum("c,chw->hw", query, features / (np.linalg.norm(features, axis=0) + 1e-6))

    def predictors(self) -> list[Callable[[Array], tuple[float, float]]]:
        return [lambda s: kernel(s, 7, self.beta), peak, lambda s: expected(s * self.beta)]

    def back(self, u: float, v: float) -> tuple[float, float]:
        return u * (self.size - 1) / (self.n - 1), v * (self.size - 1) / (self.n - 1)

    def predict(self, source: Image.Image, target: Image.Image, x: float, y: float, encode: Encode) -> Array:
        kernel, nearest, soft = super().predict(source, target, x, y, encode)
        return np.array([kernel, nearest, self.mixed(source, target, x, y, encode), soft])

    def mixed(self, source: Image.Image, target: Image.Image, x: float, y: float, encode: Encode) -> Array:
        """The peaks of the four cells round the keypoint by its bilinear weights."""
        features, other = (encode(self.pixels(image)) for image in (source, target))
        u, v = (place * (self.n - 1) / (self.size - 1) for place in self.to_frame(x, y, source))
        total = np.zeros(2)
        for column, across in ((math.floor(u), 1 - u % 1), (math.floor(u) + 1, u % 1)):
            for row, down in ((math.floor(v), 1 - v % 1), (math.floor(v) + 1, v % 1)):
                place = self.back(column, row)
                total += across * down * np.array(peak(self.map(self.query(features, *place), other)))
        return np.array(self.from_frame(*self.back(*total), target))


class VisualAi(Sd4Match):
    beta = 1 / 0.03

    def scale(self, image: Image.Image) -> tuple[float, float]:
        return (self.size - 1) / (image.size[0] - 1), (self.size - 1) / (image.size[1] - 1)

    def to_frame(self, x: float, y: float, image: Image.Image) -> tuple[float, float]:
        if self.dataset in ("pf_willow", "pf_pascal"):
            x, y = math.floor(x), math.floor(y)
        return super().to_frame(x, y, image)

    def query(self, features: Array, x: float, y: float) -> Array:
        unit = features / np.maximum(np.linalg.norm(features, axis=0), 1e-6)
        return super().query(unit, x, y)

    def map(self, query: Array, features: Array) -> Array:
        return np.einsum("c,chw->hw", query, features / np.maximum(np.linalg.norm(features, axis=0), 1e-6))


class Marco(Sd4Match):
    def _sides(self, image: Image.Image) -> tuple[int, int]:
        if self.dataset not in ("ap10k", "pf_pascal"):
            return self.size, self.size
        return tuple(round(side * self.size / max(image.size)) for side in image.size)

    def pixels(self, image: Image.Image) -> Array:
        width, height = self._sides(image)
        square = np.full((self.size, self.size, 3), np.nan)
        square[:height, :width] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)) / 255
        return square

    def scale(self, image: Image.Image) -> tuple[float, float]:
        width, height = self._sides(image)
        return width / image.size[0], height / image.size[1]

    def to_frame(self, x: float, y: float, image: Image.Image) -> tuple[float, float]:
        moved = zip((x, y), self.scale(image), self._sides(image), strict=True)
        return tuple(min(max(v * s, 1e-4), side - 1 - 1e-4) for v, s, side in moved)

    def query(self, features: Array, x: float, y: float) -> Array:
        return bilinear(features, x * self.n / self.size, y * self.n / self.size)

    def map(self, query: Array, features: Array) -> Array:
        return np.einsum("c,chw->hw", query, features)

    def predictors(self) -> list[Callable[[Array], tuple[float, float]]]:
        return [lambda s: kernel(s, 7, 0.1)]

    def predict(self, source: Image.Image, target: Image.Image, x: float, y: float, encode: Encode) -> Array:
        return System.predict(self, source, target, x, y, encode)


SYSTEMS: dict[str, type[System]] = {
    "peftcorr": System, "dift": Dift, "geoaware": GeoAware, "sd_dino": SdDino, "sd4match": Sd4Match,
    "visual_ai": VisualAi, "marco": Marco,
}  # fmt: skip


def bilinear(features: Array, u: float, v: float) -> Array:
    """One place of a map (C, h, w), held at its outermost cells."""
    height, width = features.shape[1:]
    u, v = min(max(u, 0), width - 1), min(max(v, 0), height - 1)
    found = np.zeros(len(features))
    for row in range(height):
        for column in range(width):
            weight = max(0, 1 - abs(row - v)) * max(0, 1 - abs(column - u))
            found += weight * features[:, row, column]
    return found


def enlarged(features: Array, width: int, height: int) -> Array:
    tensor = torch.from_numpy(features)[None]
    return functional.interpolate(tensor, (height, width), mode="bilinear", align_corners=False)[0].numpy()


def peak(similarity: Array) -> tuple[float, float]:
    row, column = np.unravel_index(int(similarity.argmax()), similarity.shape)
    return float(column), float(row)


def expected(logits: Array) -> tuple[float, float]:
    weights = np.exp(logits - logits.max())
    weights /= weights.sum()
    rows, columns = np.indices(weights.shape)
    return float((weights * columns).sum()), float((weights * rows).sum())


def windowed(similarity: Array, radius: int, beta: float) -> tuple[float, float]:
    column, row = peak(similarity)
    rows, columns = np.indices(similarity.shape)
    inside = (abs(rows - row) <= radius) & (abs(columns - column) <= radius)
    return expected(np.where(inside, similarity, 0) * beta)


def kernel(similarity: Array, sigma: float, beta: float) -> tuple[float, float]:
    column, row = peak(similarity)
    rows, columns = np.indices(similarity.shape)
    squared = (rows - row) ** 2 + (columns - column) ** 2
    return expected(similarity * np.exp(-squared / (2 * sigma**2)) * beta)
