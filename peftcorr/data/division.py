"""Dividing annotated images into training, validation and test: what belongs together stays together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from peftcorr.data.fingerprints import Fingerprints, copies, fingerprints, overlap
from peftcorr.data.images import ImageStore
from peftcorr.data.layouts.annotated_folder import AnnotatedFolder
from peftcorr.data.layouts.instance import Instance
from peftcorr.data.layouts.pair_draw import stream
from peftcorr.data.splits import SPLITS
from peftcorr.errors import PeftCorrError

By = Literal["image", "object", "category"]

_SIDE = 224  # pixels: the input size that the measure of near-duplicates was found at
_PAIR = 2  # images of a category that a split needs for one pair


@dataclass(frozen=True)
class Division:
    """Which images go where.

    Attributes:
        lists: images of each split, sorted.
        duplicates: images that are near-duplicates of others, a list for each picture.
        small: categories with too few images for a pair in every split.
    """

    lists: dict[str, list[str]]
    duplicates: list[list[str]]
    small: list[str]


def divide(
    instances: Sequence[Instance], root: Path, shares: Mapping[str, float], seed: int, by: By
) -> Division:
    """Draw the split of each annotated image; near-duplicates, as leakage is told by, are in one.

    Each category is divided for itself, so that every split has pairs of it where it has six images or more.

    Args:
        instances: the annotated objects.
        root: folder that their images are in.
        shares: of the images that ``val`` and ``test`` get, 0 to 1; the rest is ``trn``.
        seed: of the draw.
        by: what else is in one split alone: nothing, the images of one thing (a track, a video, an object by name), or
            those of one category.

    Raises:
        PeftCorrError: if an image cannot be decoded, nobody says what is one thing, or a split would be empty.
    """
    images, prints = _prints(instances, root)
    same = _Groups(len(images))
    for one, other in copies(prints):
        same.join(one, other)
    duplicates = [[images[n] for n in group] for group in same.groups() if len(group) > 1]
    number = {image: n for n, image in enumerate(images)}
    for together in _together(instances, by):
        first, *others = sorted({number[image] for image in together})
        for other in others:
            same.join(first, other)
    category = _categories(instances)
    groups = same.groups()
    strata: dict[str, list[list[int]]] = {}
    for group in groups:
        main = Counter(category[images[n]] for n in group)
        strata.setdefault("" if by == "category" else min(main, key=lambda c: (-main[c], c)), []).append(
            group
        )
    lists: dict[str, list[str]] = {split: [] for split in SPLITS if split == "trn" or shares[split] > 0}
    small = []
    for name, members in sorted(strata.items()):
        count = sum(map(len, members))
        small += [name] if count < _PAIR * len(lists) and by != "category" else []
        for split, group in _dealt(members, _goals(count, lists, shares), seed, name):
            lists[split] += [images[n] for n in group]
    if empty := [split for split, listed in lists.items() if not listed]:
        raise PeftCorrError(
            f"{len(images):,} images in {len(groups):,} groups that belong together (--by {by}, and near-duplicates) "
            f"leave nothing for {' and '.join(empty)}: divide by image, or ask for other shares."
        )
    return Division({split: sorted(listed) for split, listed in lists.items()}, duplicates, small)


def copies_across(source: AnnotatedFolder) -> Iterator[str]:
    """A sentence for each two splits of an annotation's own that have near-duplicates of each other.

    Raises:
        PeftCorrError: if the annotation cannot be read, or an image cannot be decoded.
    """
    prints = {s: _prints(source.read(s).instances, source.image_root(s)) for s in source.own_splits()}
    for (one, (known, first)), (other, (images, second)) in combinations(prints.items(), 2):
        leak = overlap(first, known, second, images)
        if leak.examples:
            seen, again = leak.examples[0]
            yield (
                f"Warning: {leak.identical + leak.near:,} of the {len(images):,} images of {other} are near-duplicates "
                f"of images of {one} ({seen} and {again}, say): scores on {other} would flatter what was trained."
            )


def _prints(instances: Iterable[Instance], root: Path) -> tuple[list[str], Fingerprints]:
    """The images of some objects, and their fingerprints."""
    sizes = {instance.image: instance.size for instance in instances}
    images = sorted(sizes)
    return images, fingerprints(ImageStore(root, _SIDE), images, [sizes[image] for image in images])


def _together(instances: Iterable[Instance], by: By) -> list[list[str]]:
    """Images that are in one split by what they show."""
    found: dict[str, list[str]] = {}
    for instance in instances:
        what = {"image": "", "object": instance.thing, "category": instance.category}[by]
        if what:
            found.setdefault(what, []).append(instance.image)
    if by == "object" and not found:
        raise PeftCorrError(
            "The annotation does not say what is one object on several images (a column object, a track_id, or videos "
            "in folders do): divide --by image or category."
        )
    return list(found.values())


def _categories(instances: Iterable[Instance]) -> dict[str, str]:
    """The category that most of an image's objects have, the first by name of equal ones."""
    counts: dict[str, Counter[str]] = {}
    for instance in instances:
        counts.setdefault(instance.image, Counter())[instance.category] += 1
    return {image: min(count, key=lambda c: (-count[c], c)) for image, count in counts.items()}


def _goals(count: int, splits: Iterable[str], shares: Mapping[str, float]) -> dict[str, float]:
    """How many of `count` images each split is to have: two at least where there are enough for all."""
    splits = sorted(splits, key=("trn", "test", "val").index)  # who comes first where there are too few
    splits = splits[: max(1, count // _PAIR)]
    goals = {split: max(float(_PAIR), shares[split] * count) for split in splits if split != "trn"}
    return {"trn": max(float(min(_PAIR, count)), count - sum(goals.values())), **goals}


def _dealt(
    groups: Sequence[list[int]], goals: Mapping[str, float], seed: int, name: str
) -> list[tuple[str, list[int]]]:
    """Each group with its split: drawn from the seed, the large ones first, to that which lacks most."""
    drawn = np.argsort(np.asarray(stream(seed, "division", name).random_raw(len(groups))), kind="stable")
    lacking = dict(goals)
    dealt = []
    for group in sorted((groups[n] for n in drawn.tolist()), key=len, reverse=True):
        split = max(lacking, key=lambda one: lacking[one])
        lacking[split] -= len(group)
        dealt.append((split, group))
    return dealt


class _Groups:
    """Numbers 0 ... count - 1 in groups, which are joined two by two."""

    def __init__(self, count: int):
        self._above = list(range(count))

    def join(self, one: int, other: int) -> None:
        """Put the groups of two numbers together."""
        first, second = sorted((self._top(one), self._top(other)))
        self._above[second] = first

    def groups(self) -> list[list[int]]:
        """All groups, by their smallest number."""
        found: dict[int, list[int]] = {}
        for number in range(len(self._above)):
            found.setdefault(self._top(number), []).append(number)
        return list(found.values())

    def _top(self, number: int) -> int:
        while self._above[number] != number:
            self._above[number] = self._above[self._above[number]]
            number = self._above[number]
        return number
