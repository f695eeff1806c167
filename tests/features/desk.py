"""A folder of photographs, weights and a cache of features, for the tests of that cache."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from peftcorr.backbones.dinov2 import Dinov2
from peftcorr.console.progress import Progress
from peftcorr.data.images import ResizeMode
from peftcorr.engine.evaluate import Evaluator, Split
from peftcorr.features.cache import FeatureCache
from peftcorr.features.encode import Encoder
from peftcorr.matching.predictors import Argmax, Predictor, Softargmax
from tests.engine.building import load_split
from tests.small_folder import write_folder
from tests.small_models import Small, build

IMAGES = 8
SHAPE = (4, 4, 32)


class Said(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(None)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


class Desk:
    """A folder of photographs, weights and a cache of a test's own."""

    def __init__(self, folder: Path, weights: Path):
        self.folder, self.weights = folder, weights
        self.root = write_folder(folder / "photographs")
        self.cache = folder / "cache"
        self.said = Said()

    def split(self, mode: ResizeMode = "stretch") -> Split:
        return load_split(self.root, self.folder / "tables", "test", mode)

    def score(
        self, backbone: Dinov2 | None = None, cached: bool = True, mode: ResizeMode = "stretch"
    ) -> tuple[np.ndarray, int]:
        """Predictions, and how many images were encoded for them."""
        encoder = Encoder(backbone or build(Small, self.weights))
        predictors: list[Predictor] = [Argmax(Argmax.Config()), Softargmax(Softargmax.Config())]
        cache = FeatureCache(self.cache, "some weights") if cached else None
        accelerator = Accelerator(cpu=True)
        found = (
            Evaluator(encoder, accelerator, 3, self.said, cache=cache)
            .predict(self.split(mode), predictors)
            .points
        )
        return found, encoder.forwards

    def files(self) -> list[Path]:
        return sorted((self.cache / "features").glob("*/*.safetensors"))


def header_of(path: Path) -> tuple[int, dict[str, object]]:
    """Length and content of the header of a file of safetensors."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return length, json.loads(content[8 : 8 + length])


def images_in(path: Path) -> int:
    """How many images a file of the cache has; its header has an entry more."""
    return len(header_of(path)[1]) - 1
