"""Whether keypoints are pixels of the images that they are said to be of, and in which frame of a turned one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from peftcorr.data.exif import STORED, Header
from peftcorr.data.pair_dataset import Exif, PairDataset
from peftcorr.errors import PeftCorrError

Floats = NDArray[np.float64]
Place = Callable[[str, str, str, str], str]  # split, side, pair and image of some keypoints -> file and field

# Pixels beyond the edge, or share of the longer side, that annotators' hands slip by.
_EDGE, _SHARE = 5.0, 0.01


@dataclass(frozen=True)
class _Side:
    """One side of P pairs.

    Attributes:
        name: ``source`` or ``target``.
        pairs: id of each pair.
        images: path of each distinct image, (U,).
        image: which of them each pair has, (P,).
        sizes: annotated size of each pair's image, as the table has it.
        size: W, H of it, (P, 2); NaN where it is not annotated.
        points: x, y, (N, 2).
        pair: pair of each point, (N,); sorted.
    """

    name: str
    pairs: pa.Array
    images: list[str]
    image: NDArray[np.int64]
    sizes: pa.Array
    size: Floats
    points: Floats
    pair: NDArray[np.int64]


def oriented(dataset: PairDataset, exif: Exif, headers: Mapping[str, Header]) -> PairDataset:
    """Settle in which frame the images that are stored turned were annotated.

    Where ``exif`` is ``auto``, an annotated size that only the shown picture has decides. Else the keypoints do: a
    frame that some of them lie outside is not the one. Images that neither tells of follow the others of the split
    if those are all of one kind, since one program reads all pictures alike.

    What was settled otherwise than by the size stands in the size columns: [W, H, orientation to apply].

    Args:
        dataset: as its loader gives it.
        exif: the dataset's option.
        headers: of its images by path; those that could not be read are missing.

    Raises:
        PeftCorrError: if nothing tells.
    """
    turned = {path: header for path, header in headers.items() if header.orientation != STORED}
    if not turned:
        return dataset
    sizes, points = _of_images(dataset, turned)
    told = {
        path: _told(header, sizes[path], points[path], exif)
        for path, header in turned.items()
        if len(sizes[path]) != 3  # settled before
        and (not sizes[path] or tuple(sizes[path]) in (header.size, header.shown))  # else decoding refuses it
    }
    undecided = sorted(path for path, (upright, _) in told.items() if upright is None)
    evidence = {upright for upright, by in told.values() if by in ("size", "keypoints")}
    if undecided and len(evidence) != 1:
        raise PeftCorrError(
            f"{dataset.name}/{dataset.split}: {len(undecided):,} images are stored turned (their EXIF orientation is "
            f"not 1), the first {dataset.image_root / undecided[0]}, and neither sizes nor keypoints tell whether they "
            "were annotated as stored or as shown: choose with --set dataset.exif=stored or dataset.exif=shown."
        )
    settled = {
        path: upright if upright is not None else True in evidence
        for path, (upright, by) in told.items()
        if by != "size"
    }
    if not settled:
        return dataset
    frames = {
        path: [*turned[path].shown, turned[path].orientation] if upright else [*turned[path].size, STORED]
        for path, upright in settled.items()
    }
    shown = sum(settled.values())
    note = (
        f"{dataset.name}/{dataset.split}: {len(settled):,} images are stored turned (EXIF); by their keypoints "
        f"{shown:,} were annotated as shown, {len(settled) - shown:,} as stored."
    )
    notes = (*dataset.notes, note) if exif == "auto" else dataset.notes
    return replace(dataset, table=_with_sizes(dataset.table, frames), notes=notes)


def _told(header: Header, size: list[int], points: Floats, exif: Exif) -> tuple[bool | None, str]:
    """Whether a turned image was annotated as shown (None where nothing tells), and what says so."""
    if exif != "auto":
        return exif == "shown", "option"
    if size and tuple(size) != header.size:
        return True, "size"
    holding = [
        upright
        for upright, frame in ((False, header.size), (True, header.shown))
        if not _beyond(points, np.array(frame, dtype=np.float64)).any()
    ]
    if not holding:
        return False, "neither"  # which is refused later, in whatever frame it is read
    return (holding[0], "keypoints") if len(holding) == 1 else (None, "nothing")


def inside(dataset: PairDataset, headers: Mapping[str, Header], stray: float, place: Place) -> PairDataset:
    """Refuse keypoints that lie outside of their images: what is scored on them would be a number without a meaning.

    A few pixels beyond the edge pass, for annotators' hands slip. Where a share of the keypoints no larger than `stray`
    lies farther, it is a note.

    Raises:
        PeftCorrError: if more do, with their number and the first of them.
    """
    outside, total, first = 0, 0, ""
    for side in _sides(dataset.table):
        stored = np.array(
            [headers[path].size if path in headers else (np.nan, np.nan) for path in side.images]
        ).reshape(-1, 2)
        size = np.where(np.isnan(side.size), stored[side.image], side.size)
        found = np.flatnonzero(_beyond(side.points, size[side.pair]))
        total += len(side.points)
        outside += len(found)
        if len(found) and not first:
            (x, y), pair = side.points[found[0]], side.pair[found[0]]
            width, height = size[pair]
            image = side.images[side.image[pair]]
            first = f"({x:g}, {y:g}) of {dataset.image_root / image}, which is {width:.0f} x {height:.0f}"
            header = headers.get(image)
            if header is not None and header.orientation != STORED:
                first += f" as {'stored' if (width, height) == header.size else 'shown'} (see dataset.exif)"
            if at := place(dataset.split, side.name, side.pairs[int(pair)].as_py(), image):
                first += f" ({at})"
    if not outside:
        return dataset
    told = (
        f"{dataset.name}/{dataset.split}: {outside:,} of {total:,} keypoints lie outside of their images, the first at "
        f"{first}"
    )
    if outside > stray * total:
        raise PeftCorrError(f"{told}: give pixels of the original image, x before y.")
    return replace(dataset, notes=(*dataset.notes, f"Warning: {told}."))


def _beyond(points: Floats, size: Floats) -> NDArray[np.bool_]:
    """Which points (N, 2) lie farther outside of images (W, H) than a hand slips; none of one of unknown size."""
    (x, y), (width, height) = points.T, size.T
    slip = np.maximum(_EDGE, _SHARE * np.maximum(width, height))
    # What is no number is nowhere near.
    near = (x >= -slip) & (y >= -slip) & (x <= width - 1 + slip) & (y <= height - 1 + slip)
    far: NDArray[np.bool_] = ~near & ~np.isnan(width + height)
    return far


def _sides(table: datasets.Dataset) -> Iterator[_Side]:
    """Both sides of all pairs, without the points that a target is said to hide, whose place means nothing."""
    arrow = table.with_format("arrow")[:]
    for name in ("source", "target"):
        keypoints = _whole(arrow, f"{name}_keypoints")
        counts = pc.fill_null(pc.list_value_length(keypoints), 0).to_numpy()
        points = keypoints.flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, 2)
        pair = np.repeat(np.arange(len(arrow)), counts)
        occluded = _whole(arrow, "target_occluded")
        if name == "target" and occluded.null_count == 0 and len(occluded):
            seen = ~occluded.flatten().to_numpy(zero_copy_only=False)
            points, pair = points[seen], pair[seen]
        images = _whole(arrow, f"{name}_image").dictionary_encode()
        sizes = _whole(arrow, f"{name}_size")
        size = np.full((len(arrow), 2), np.nan)
        lengths = pc.fill_null(pc.list_value_length(sizes), 0).to_numpy()
        given = np.flatnonzero(lengths)
        first = np.cumsum(lengths)[given] - lengths[given]
        values = sizes.flatten().to_numpy(zero_copy_only=False)
        size[given] = np.stack([values[first], values[first + 1]], axis=1)
        yield _Side(
            name,
            _whole(arrow, "pair_id"),
            images.dictionary.to_pylist(),
            images.indices.to_numpy().astype(np.int64),
            sizes,
            size,
            points,
            pair,
        )


def _of_images(
    dataset: PairDataset, wanted: Mapping[str, Header]
) -> tuple[dict[str, list[int]], dict[str, Floats]]:
    """Annotated size and all keypoints of some images."""
    sizes: dict[str, list[int]] = {}
    points: dict[str, list[Floats]] = {}
    for side in _sides(dataset.table):
        first = np.searchsorted(side.pair, np.arange(len(side.image) + 1))
        of_wanted = np.array([path in wanted for path in side.images])
        for pair in np.flatnonzero(of_wanted[side.image]).tolist():
            path = side.images[side.image[pair]]
            sizes.setdefault(path, side.sizes[pair].as_py() or [])
            points.setdefault(path, []).append(side.points[first[pair] : first[pair + 1]])
    return sizes, {path: np.concatenate(parts) for path, parts in points.items()}


def _with_sizes(table: datasets.Dataset, frames: Mapping[str, list[int]]) -> datasets.Dataset:
    """The table with other entries in its size columns, for the images that have one here."""
    arrow = table.with_format("arrow")[:]
    for name in ("source", "target"):
        place = arrow.schema.get_field_index(f"{name}_size")
        given = zip(arrow.column(f"{name}_image").to_pylist(), arrow.column(place).to_pylist(), strict=True)
        sizes = [frames.get(path, size) for path, size in given]
        field = arrow.schema.field(place)
        arrow = arrow.set_column(place, field, pa.array(sizes, type=field.type))
    return datasets.Dataset(arrow, info=table.info)


def _whole(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name).combine_chunks()
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
