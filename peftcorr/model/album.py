"""The matches of one run or two, drawn on their pictures into a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from peftcorr.model.finished import Finished
from peftcorr.model.pictures import Pictures
from peftcorr.model.similarity_maps import similarity_maps
from peftcorr.report.file_names import file_name
from peftcorr.report.match_page import Drawn, Part
from peftcorr.report.matches import Matches, Pair
from peftcorr.report.side_by_side import side_by_side, stacked
from peftcorr.report.similarity_panels import MOST, similarity_panels


@dataclass(frozen=True)
class Chosen:
    """Pairs to be drawn under one heading, by their numbers."""

    title: str
    sentence: str
    pairs: tuple[int, ...]


@dataclass(frozen=True)
class Album:
    """What is drawn, and from what.

    Attributes:
        names: of the runs, one or two.
        matches: of each, on the same rows.
        pictures: of the split.
        models: of each run, for maps of similarity; empty for none.
        alpha: threshold, for the legend.
    """

    names: tuple[str, ...]
    matches: tuple[Matches, ...]
    pictures: Pictures
    models: tuple[Finished, ...]
    alpha: float

    def draw(self, chosen: Sequence[Chosen], folder: Path, done: Callable[[int], None]) -> list[Part]:
        """Draw every pair into a file of its own.

        Of two runs, a picture has the keypoints that one has right and the other has not, the first run above.

        Args:
            chosen: what to draw.
            folder: where the files go.
            done: told how many pairs were drawn, each time.

        Raises:
            PeftCorrError: if a picture cannot be read.
            OSError: if a file cannot be written.
        """
        taken: set[str] = set()
        parts = []
        for one in chosen:
            drawn = []
            for number in one.pairs:
                drawn.append(self._pair(number, folder, taken))
                done(1)
            parts.append(Part(one.title, one.sentence, tuple(drawn)))
        return parts

    def _pair(self, number: int, folder: Path, taken: set[str]) -> Drawn:
        pairs = self._as_each_has_it(number)
        source, target = self.pictures.read(pairs[0].source_image), self.pictures.read(pairs[0].target_image)
        legends = [f"{name}: " if len(self.names) > 1 else "" for name in self.names]
        picture = stacked(
            [
                side_by_side(
                    source, target, [k.mark for k in pair.keypoints], f"{legend}ring: {self.alpha:g} s"
                )
                for pair, legend in zip(pairs, legends, strict=True)
            ]
        )
        file = _written(picture, folder, pairs[0].pair_id, taken)
        maps = ""
        if self.models:
            panels = [self._panels(*both, source, target) for both in zip(self.models, pairs, strict=True)]
            maps = _written(stacked(panels), folder, f"{pairs[0].pair_id} similarity", taken)
        return Drawn(file, tuple(zip(self.names, pairs, strict=True)), maps)

    def _as_each_has_it(self, number: int) -> list[Pair]:
        if len(self.matches) == 1:
            return [self.matches[0].pair(number)]
        first, second = self.matches
        differs = first.right != second.right
        if not first.pair(number, differs).keypoints:  # asked for by name, and both have it alike
            return [matches.pair(number) for matches in self.matches]
        return [matches.pair(number, differs) for matches in self.matches]

    def _panels(
        self, model: Finished, pair: Pair, source: NDArray[np.uint8], target: NDArray[np.uint8]
    ) -> Image.Image:
        worst = pair.keypoints[:MOST]
        points = [keypoint.mark.source for keypoint in worst]
        maps = similarity_maps(model, source, target, points, pair.category)
        return similarity_panels(target, maps, worst)


def _written(picture: Image.Image, folder: Path, name: str, taken: set[str]) -> str:
    file = file_name(name, ".png", taken)
    taken.add(file)
    picture.save(folder / file)
    return file
