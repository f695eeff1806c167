"""What `check-plugin` asks of a dataset: splits that can be read, the same each time, with keypoints inside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import numpy as np

from peftcorr.console.progress import Progress
from peftcorr.data.base import DatasetSource, PairDataset
from peftcorr.data.columns import PAIR_FEATURES
from peftcorr.data.correspondences import correspondences
from peftcorr.data.guard import TEST, selecting
from peftcorr.data.identity import annotation_digest
from peftcorr.data.opening import in_its_frame
from peftcorr.data.pair_dataset import Exif
from peftcorr.data.published.check import check_split
from peftcorr.errors import BrokenContract, PeftCorrError

SPLITS = ("trn", "val", TEST)


def check_source(source: DatasetSource) -> None:
    """Its splits are of those that a run asks for, and its identity is plain values.

    Raises:
        BrokenContract: if not.
    """
    splits = source.splits()
    if not splits or set(splits) - set(SPLITS) or len(set(splits)) < len(splits):
        raise _broken(
            source, f"has the splits {splits}: name those that are there of {', '.join(SPLITS)}, each once."
        )
    identity = source.identity()
    try:
        same = json.loads(json.dumps(identity)) == identity
    except (TypeError, ValueError):
        same = False
    if not (isinstance(identity, dict) and same):
        raise _broken(
            source, "has an identity that is no mapping of plain JSON values, as a recipe holds them."
        )


def checks(make: Callable[[], DatasetSource], split: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Checks of one split by name, in an order in which each stands on those before it; each raises `BrokenContract`.

    Args:
        make: opens the dataset.
        split: one of its splits.
    """
    checked = Check(make, split)
    yield "columns", checked.check_columns
    yield "pairs", checked.check_pairs
    yield "images", checked.check_images
    yield "keypoints", checked.check_keypoints
    yield "again", checked.check_again
    if split == TEST:
        yield "guard", checked.check_guard


class Check:
    """One split, loaded."""

    def __init__(self, make: Callable[[], DatasetSource], split: str):
        self._make, self._source, self._split = make, make(), split
        self._dataset = self._as_made(self._source)

    def _as_made(self, source: DatasetSource) -> PairDataset:
        """The split as its loader gives it; what is done to every split after that is for `check_keypoints`."""
        load = type(source).load
        found: PairDataset = getattr(load, "__wrapped__", load)(source, self._split)
        return found

    def check_columns(self) -> None:
        """The table has exactly the columns of `PAIR_FEATURES`, and the split says what it is."""
        found = self._dataset.table.features
        if found != PAIR_FEATURES:
            odd = sorted(n for n in {*found, *PAIR_FEATURES} if found.get(n) != PAIR_FEATURES.get(n))[0]
            raise self._broken(
                f"has a column {odd} of another type than peftcorr.data.columns.PAIR_FEATURES, or lacks it: make the "
                "table with features=PAIR_FEATURES."
            )
        if (self._dataset.split, self._dataset.name) != (self._split, self._source.name):
            raise self._broken(
                f"calls itself {self._dataset.name}/{self._dataset.split}: give PairDataset the source's name and the "
                "split that was asked for."
            )

    def check_pairs(self) -> None:
        """There are pairs, each with a name of its own, as many points on both sides, and a length above zero."""
        table = self._dataset.table
        if len(table) == 0:
            raise self._broken("has no pairs: leave out of splits() what is empty.")
        if len(set(table["pair_id"])) < len(table):
            raise self._broken("has a pair_id twice: give each pair its own.")
        columns = ("source_keypoints", "target_keypoints", "keypoint_ids", "target_occluded")
        for pair, *values in zip(table["pair_id"], *(table[name] for name in columns), strict=True):
            counts = {len(value) for value in values if value is not None}
            if len(counts) != 1 or counts == {0}:
                raise self._broken(
                    f"has another number of {' or '.join(columns[:3])} in pair {pair}, or none."
                )
        lengths = np.array(table["reference_length"], dtype=np.float64)
        if not bool((np.isfinite(lengths) & (lengths > 0)).all()):
            raise self._broken(
                "has a reference_length that is not above 0: it is what distances are compared with."
            )

    def check_images(self) -> None:
        """Every image can be decoded, to its annotated size where there is one."""
        problems = check_split(self._source, self._split, Progress(None), self._dataset).problems
        if problems:
            more = f" ({len(problems) - 1} more images like it)" if len(problems) > 1 else ""
            raise self._broken(f"cannot be read whole: {problems[0]}{more}")

    def check_keypoints(self) -> None:
        """Points are pixels of the original image, and lie inside it but for a few, which annotators set beside it."""
        exif: Exif = getattr(self._source.config, "exif", "auto")
        try:
            in_its_frame(
                self._dataset, exif, self._source.stray, self._source.cache, self._source.keypoints_at
            )
        except PeftCorrError as error:
            raise self._broken(f"has keypoints in another frame: {error}") from error
        data = correspondences(self._dataset)
        if len(data) > 1 and float(max(data.source_points.max(), data.target_points.max())) <= 1:
            raise self._broken(
                "has no keypoint beyond pixel 1: give pixels of the original image, not shares of it."
            )

    def check_again(self) -> None:
        """Another process reads the same."""
        if annotation_digest(self._as_made(self._make())) != annotation_digest(self._dataset):
            raise self._broken(
                "is another when it is loaded again: let it depend on its folder and options alone."
            )

    def check_guard(self) -> None:
        """Nobody reads it while a run still trains or selects."""
        try:
            with selecting():
                self._make().load(self._split)
        except PeftCorrError:
            return
        raise self._broken("can be read while a run selects: let load be a method of the class itself.")

    def _broken(self, what: str) -> BrokenContract:
        return _broken(self._source, f"{self._split} {what}")


def _broken(source: DatasetSource, what: str) -> BrokenContract:
    return BrokenContract(f"The dataset {type(source).__name__} {what}")
