"""AP-10K (Yu et al., 2021, arXiv:2108.12617) as the correspondence benchmark of GeoAware-SC (Zhang et al., 2024).

annotations/ap10k-<train|val|test>-split1.json
data/<image id, 12 digits>.jpg
ap-10k_is_crowd.txt                       image ids that show several animals, published with GeoAware-SC

The protocol is that of "Telling Left from Right" (CVPR 2024, arXiv:2311.17034), as its public notebook
``prepare_ap10k.ipynb`` carries it out: the three published splits are put together, the first animal annotated in an
image counts, images of the crowd list or with fewer than 3 annotated keypoints are dropped, and of each species the
last 30 images are for testing, the 20 before them for validation, the rest for training. A pair shares at least 3
keypoints, of which one that is hidden in an image (v = 1) counts for half, and in both for a quarter: the sum of
v_source / 2 times v_target / 2 is at least 3. A pair stands in one direction.

- ``intra_species``: all pairs of a species' val or test images; of its n training images at most 50 n pairs. The
  images of a species are shuffled once, and of a pair the earlier one is the source.
- ``cross_species``: of each family with several species, 400 val and 900 test pairs of two species. The source is of
  the first of both species: the notebook means to turn half of these pairs, but the line that would changes a name of
  its own loop alone, so that none is turned.
- ``cross_family``: of each two families, 20 val and 30 test pairs; the source is of the first of both.

In three things no one can follow the notebook. Images, species and families were in the order of the file system there,
which decides what is last and first: here images are in the order of their ids, species and families in that of their
names. What is drawn from these orders is drawn from `seed`. And it takes the number of an image's keypoints from
the field ``num_keypoints``, which is counted here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from peftcorr.data.arrow import stamp
from peftcorr.data.base import Progress, given_folder
from peftcorr.data.layouts.coco_annotation import read_annotation
from peftcorr.data.layouts.drawn_source import DrawnPair, DrawnSource
from peftcorr.data.layouts.instance import Instance
from peftcorr.data.layouts.pair_draw import sharing, shuffled, some, stream
from peftcorr.data.splits import SPLITS
from peftcorr.errors import PeftCorrError, shown
from peftcorr.files.reading import read_text

_LOADER = "ap10k-2"  # raise it when the reader gives other values for the same files
_ARCHIVE_FOLDER = "ap-10k"
_FILES = tuple(f"ap10k-{split}-split1.json" for split in ("train", "test", "val"))
_CROWDS = "ap-10k_is_crowd.txt"
_CROWDS_ADDRESS = "https://raw.githubusercontent.com/Junyi42/GeoAware-SC/master/data/ap-10k_is_crowd.txt"
_SHARED = 3  # keypoints
_HIDDEN = 0.5  # of one, where it is hidden: v / 2
_TEST, _VAL = 30, 20  # images of a species
_TRN_PAIRS = 50  # for each training image
_SPECIES_PAIRS = {"val": 400, "test": 900}  # of a family
_FAMILY_PAIRS = {"val": 20, "test": 30}  # of two families

Pair = tuple[Instance, Instance]
Species = dict[tuple[str, str], list[Instance]]  # images by (family, species)


class Ap10k(DrawnSource):
    """AP-10K (Yu et al., 2021) in the three settings of GeoAware-SC.

    The data root is the folder ``ap-10k`` or the one it was unpacked in.
    """

    class Config(DrawnSource.Config):
        """Options of AP-10K."""

        setting: Literal["intra_species", "cross_species", "cross_family"] = Field(
            default="intra_species", description="what the two animals of a pair have in common"
        )
        crowd: Literal["drop", "keep"] = Field(
            default="drop", description="images with several animals: left out, as published, or kept"
        )

    config: Config
    shared = _SHARED

    def __init__(self, config: BaseModel, root: Path | None, cache: Path, progress: Progress | None = None):
        super().__init__(config, root, cache, progress)
        needs = [f"annotations/{name}" for name in _FILES]
        self._folder = given_folder(root, "ap10k", needs, (_ARCHIVE_FOLDER,))

    @property
    def name(self) -> str:
        """``ap10k``, ``ap10k-cross_species`` or ``ap10k-cross_family``; another seed or rule is named too."""
        options = self.config
        setting = "" if options.setting == "intra_species" else options.setting
        crowds = "with_crowds" if options.crowd == "keep" else ""
        seed = f"seed_{options.seed}" if options.seed else ""
        return "-".join(filter(None, ("ap10k", setting, crowds, seed)))

    def splits(self) -> list[str]:
        """``trn``, ``val`` and ``test``; across species and families there is nothing to train on."""
        return list(SPLITS) if self.config.setting == "intra_species" else ["val", "test"]

    def stamp(self, split: str) -> str:
        """Hash of the options, the crowd list and the annotation files' names, sizes and times."""
        crowds = ",".join(str(image) for image in sorted(self._crowds()))
        return stamp(
            _LOADER, f"{self.config.of_table()}\0{crowds}".encode(), [self.annotation(split)], "-split1.json"
        )

    def annotation(self, split: str) -> Path:
        """``annotations``, whose files are put together."""
        return self._folder / "annotations"

    def image_root(self, split: str) -> Path:
        """``data``."""
        return self._folder / "data"

    def drawn(self, split: str, notes: list[str]) -> list[DrawnPair]:
        """The pairs of the setting, drawn from the seed."""
        draw = {
            "intra_species": self._intra_species,
            "cross_species": self._cross_species,
            "cross_family": self._cross_family,
        }[self.config.setting]
        return list(draw(split, self._species(split)))

    def _species(self, split: str) -> Species:
        """A split's images by (family, species), in the order of their ids."""
        first: dict[int, Instance] = {}
        for name in _FILES:
            path = self.annotation(split) / name
            for instance in read_annotation(path).instances:
                if not isinstance(instance.image_id, int):
                    raise PeftCorrError(
                        f"{path}: images.id is {shown(instance.image_id)}; AP-10K's are whole numbers."
                    )
                first.setdefault(instance.image_id, replace(instance, object=""))
        _require_distinct_names(self.annotation(split), first)
        crowds = self._crowds()
        images: Species = {}
        for number, instance in sorted(first.items()):
            if number not in crowds and len(instance.keypoints) >= _SHARED:
                images.setdefault((instance.supercategory, instance.category), []).append(instance)
        return {species: part for species, found in sorted(images.items()) if (part := _part(found, split))}

    def _intra_species(self, split: str, species: Species) -> Iterator[DrawnPair]:
        for (family, name), images in species.items():
            images = shuffled(images, stream(self.config.seed, split, family, name, "order"))
            pairs = _within(images)
            limit = _TRN_PAIRS * len(images) if split == "trn" else None
            yield from self._some(name, pairs, limit, (split, family, name))

    def _cross_species(self, split: str, species: Species) -> Iterator[DrawnPair]:
        for family, members in itertools.groupby(species, key=lambda names: names[0]):
            several = itertools.combinations(members, 2)
            pairs = [pair for one, other in several for pair in _across(species[one], species[other])]
            yield from self._some(family, pairs, _SPECIES_PAIRS[split], (split, family))

    def _cross_family(self, split: str, species: Species) -> Iterator[DrawnPair]:
        families: dict[str, list[Instance]] = {}
        for (family, _), images in species.items():
            families.setdefault(family, []).extend(images)
        for one, other in itertools.combinations(sorted(families), 2):
            pairs = _across(families[one], families[other])
            # one category for all, as published: else an image would be encoded once for each other family
            yield from self._some("all", pairs, _FAMILY_PAIRS[split], (split, one, other))

    def _some(
        self, category: str, pairs: Sequence[Pair], limit: int | None, names: tuple[str, ...]
    ) -> Iterator[DrawnPair]:
        for index in some(len(pairs), limit, stream(self.config.seed, *names, "pairs")):
            yield category, *pairs[index]

    def _crowds(self) -> set[int]:
        """Images of the crowd list."""
        if self.config.crowd == "keep":
            return set()
        for path in (self._folder / _CROWDS, self._folder.parent / _CROWDS):
            if path.is_file():
                return _read_crowds(path)
        raise PeftCorrError(
            f"{self._folder} has no {_CROWDS}, the published list of images to leave out: get it from "
            f"{_CROWDS_ADDRESS}, or keep these images, which is another benchmark, with the option crowd: keep."
        )


def _part(images: list[Instance], split: str) -> list[Instance]:
    """What a species has in a split: the last 30 images are for testing, the 20 before them for validation."""
    test = max(0, len(images) - _TEST)
    val = max(0, test - _VAL)
    return {"trn": images[:val], "val": images[val:test], "test": images[test:]}[split]


def _require_distinct_names(annotations: Path, images: dict[int, Instance]) -> None:
    numbers: dict[str, int] = {}
    for number, instance in images.items():
        if (other := numbers.setdefault(instance.image, number)) != number:
            raise PeftCorrError(
                f"{annotations}: the images {shown(other)} and {shown(number)} of two of its files have the same "
                f"file_name, {shown(instance.image)}."
            )


def _across(one: Sequence[Instance], other: Sequence[Instance]) -> list[Pair]:
    return [(one[i], other[j]) for i, j in sharing(one, other, _SHARED, _HIDDEN).tolist()]


def _within(images: Sequence[Instance]) -> list[Pair]:
    """Each pair once, the earlier image first."""
    found = sharing(images, images, _SHARED, _HIDDEN)
    return [(images[i], images[j]) for i, j in found.tolist() if i < j]


def _read_crowds(path: Path) -> set[int]:
    images = set()
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        text = line.strip()
        if not re.fullmatch(r"[0-9]{0,12}", text):
            raise PeftCorrError(f"{path}, line {number}: {shown(text)} is no image id, like 000000022657.")
        if text:
            images.add(int(text))
    return images
