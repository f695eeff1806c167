"""The matches of one run or two, drawn on their pictures into a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from peftcorr.console.numbers import count, share
from peftcorr.model.matching import Model
from peftcorr.model.pictures import Pictures
from peftcorr.report.configuration import backbone_label, is_trained, method
from peftcorr.report.file_names import file_name
from peftcorr.report.match_page import Drawn, Part
from peftcorr.report.matches import Matches, Pair
from peftcorr.report.overview import Stages, components, draw_overview
from peftcorr.report.side_by_side import Mark, Pixels, side_by_side, stacked
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
        models: of each run, for maps of similarity and the overview; empty where neither is drawn.
        alpha: threshold, for the legend.
        split: ``<dataset>/<split>``.
    """

    names: tuple[str, ...]
    matches: tuple[Matches, ...]
    pictures: Pictures
    models: tuple[Model, ...]
    alpha: float
    split: str

    def draw(
        self, chosen: Sequence[Chosen], folder: Path, done: Callable[[int], None], maps: bool = False
    ) -> list[Part]:
        """Draw every pair into a file of its own.

        Of two runs, a picture has the keypoints that one has right and the other has not, the first run above.

        Args:
            chosen: what to draw.
            folder: where the files go.
            done: told how many pairs were drawn, each time.
            maps: whether maps of similarity are drawn too.

        Raises:
            PeftCorrError: if a picture cannot be read.
            OSError: if a file cannot be written.
        """
        taken = {"overview.png"}  # stands beside them
        parts = []
        for one in chosen:
            drawn = []
            for number in one.pairs:
                drawn.append(self._pair(number, folder, taken, maps))
                done(1)
            parts.append(Part(one.title, one.sentence, tuple(drawn)))
        return parts

    def overview(self, predictor: str, number: int) -> bytes:
        """The way of the first run from two pictures to a point, as a PNG: of the first keypoint that it has right.

        Args:
            predictor: its name.
            number: of the pair.
        """
        model, pair = self.models[0], self.matches[0].pair(number)
        right = [keypoint for keypoint in pair.keypoints if keypoint.mark.kind == "right"]
        mark = (right or list(pair.keypoints))[-1].mark  # the nearest of those that are right
        source, target = self.pictures.read(pair.source_image), self.pictures.read(pair.target_image)
        features = model.features([source, target], categories=pair.category).cpu().numpy()
        record, backbone = model.record, model.backbone
        assert record is not None
        blocks = len(backbone.blocks())
        first = min(model.strategy.first_trainable_block(backbone), blocks) if is_trained(record) else blocks
        trained, total = record.trainable_parameters, record.total_parameters
        return draw_overview(
            Stages(
                dataset=self.split,
                backbone=backbone_label(record),
                strategy=method(record),
                predictor=predictor,
                trained=f"{count(trained)} trained ({share(trained, total)})",
                blocks=(blocks, first),
                source=source,
                target=target,
                features=components(features),
                similarity=_maps(model, source, target, [mark], pair.category)[0],
                mark=mark,
                category=pair.category,
            )
        )

    def _pair(self, number: int, folder: Path, taken: set[str], with_maps: bool) -> Drawn:
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
        if with_maps:
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

    def _panels(self, model: Model, pair: Pair, source: Pixels, target: Pixels) -> Image.Image:
        worst = pair.keypoints[:MOST]
        maps = _maps(model, source, target, [keypoint.mark for keypoint in worst], pair.category)
        return similarity_panels(target, maps, worst)


def _maps(
    model: Model, source: Pixels, target: Pixels, marks: Sequence[Mark], category: str
) -> NDArray[np.float32]:
    """Similarity of each mark's source with every pixel of the target, (K, H, W)."""
    edge = np.array([source.shape[1], source.shape[0]]) - 0.5
    # Annotators' hands slip over the edge by a pixel or two.
    points = np.clip([mark.source for mark in marks], -0.5, edge)
    return model.heatmap(source, target, points, category=category)


def _written(picture: Image.Image, folder: Path, name: str, taken: set[str]) -> str:
    file = file_name(name, ".png", taken)
    taken.add(file)
    picture.save(folder / file)
    return file
