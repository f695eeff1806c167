"""SPair-U (Mariotti et al., "Jamais Vu", NeurIPS 2025, arXiv:2506.08220): SPair-71k's test pairs with other keypoints.

datasets/SPair-U/PairAnnotation/test/<pair>.json   as SPair-71k's
datasets/SPair-U/ImageAnnotation/<category>/       not read
SPair-71k/JPEGImages, SPair-71k/Layout             of SPair-71k, which its archive does not repeat

Its keypoints are none of SPair-71k's: a model that was trained on these is asked for points that it never saw.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from peftcorr.data.arrow import scan
from peftcorr.data.base import DatasetSource, Progress, given_folder
from peftcorr.data.image_files import ImageFiles
from peftcorr.data.layouts.spair import SpairFolder, pair_names
from peftcorr.data.published.catalogue import prepared_folder
from peftcorr.data.splits import place_of_split
from peftcorr.errors import PeftCorrError

_ANNOTATION = "PairAnnotation"
_PHOTOGRAPHS = ("JPEGImages", "Layout")
_SPAIR = "SPair-71k"


class SpairU(SpairFolder):
    """SPair-U (Mariotti et al., 2025): pairs of SPair-71k with other keypoints.

    The data root is its folder or the one it was unpacked in. The photographs are SPair-71k's, which is found in it,
    beside it, in the data root, or where ``peftcorr data prepare spair71k`` put it; no links are needed.
    """

    published_as = "spair_u"
    stray = 0.01

    def __init__(self, config: BaseModel, root: Path | None, cache: Path, progress: Progress | None = None):
        DatasetSource.__init__(self, config, root, cache, progress)
        self._folder = given_folder(root, "spair_u", (_ANNOTATION,), ("SPair-U", "datasets/SPair-U"))
        assert root is not None
        self._spair = _spair71k(self._folder, root, cache)
        self._images = ImageFiles(self._spair / "JPEGImages")
        self.require_name(self.config.folder)

    def splits(self) -> list[str]:
        """``test``: nothing else is annotated."""
        return ["test"] if self._layout_file("test") is not None else []

    def _layout_file(self, split: str) -> tuple[str, Path] | None:
        folder = self._spair / "Layout" / self.config.layout
        return place_of_split(split, lambda word: folder / f"{word}.txt")

    def _pairs(self, layout: Path, annotations: Path) -> list[str]:
        """Those of SPair-71k's pairs that are annotated, in its order."""
        there = {entry.name for entry in scan(annotations)}
        found = [name for name in pair_names(layout).values() if f"{name}.json" in there]
        if not found:
            raise PeftCorrError(f"{annotations} annotates no pair that {layout} lists.")
        return found


def _spair71k(folder: Path, root: Path, cache: Path) -> Path:
    """SPair-71k's folder.

    Raises:
        PeftCorrError: if it is nowhere.
    """
    places = (folder, folder.parent / _SPAIR, root / _SPAIR, prepared_folder(cache, "spair71k") / _SPAIR)
    for place in places:
        if all((place / need).is_dir() for need in _PHOTOGRAPHS):
            return place
    raise PeftCorrError(
        f"{folder} has neither the photographs nor the list of pairs, which are SPair-71k's: put its folder beside it, "
        f"as {folder.parent / _SPAIR}, or get it with peftcorr data prepare spair71k."
    )
