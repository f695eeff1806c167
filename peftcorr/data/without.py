"""A split without what is held out of a training: no keypoint, pair or length tells of it any more."""

from __future__ import annotations

from dataclasses import dataclass, replace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from peftcorr.data.hold_out import HeldOut
from peftcorr.data.pair_dataset import PairDataset
from peftcorr.errors import PeftCorrError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_SIDES = ("source", "target")


def keypoint_names(dataset: PairDataset) -> dict[str, list[str]]:
    """Keypoints that some pair of each category of a split has, sorted."""
    table = dataset.table.select_columns(["category", "keypoint_ids"]).with_format("arrow")[:]
    parents = pc.list_parent_indices(table.column("keypoint_ids"))
    both = pa.table(
        {
            "category": table.column("category").take(parents),
            "keypoint": pc.list_flatten(table.column("keypoint_ids")),
        }
    )
    found: dict[str, list[str]] = {name: [] for name in table.column("category").unique().to_pylist()}
    for row in both.group_by(["category", "keypoint"]).aggregate([]).to_pylist():
        found[row["category"]].append(row["keypoint"])
    return {name: sorted(own) for name, own in sorted(found.items())}


def without(dataset: PairDataset, held: HeldOut) -> PairDataset:
    """A split as a training may see it: without pairs of unseen categories, and without unseen keypoints.

    Pairs that are left without a keypoint go. Where a box, and so the reference length s, is the one round an object's
    keypoints and not annotated, it is drawn again round those that are left, or s would tell of the others; an object
    whose keypoints then lie at one place goes too.

    Raises:
        PeftCorrError: if no pair is left.
    """
    table = dataset.table.with_format("arrow")[:]
    keypoints = _Keypoints.of(table, held)
    lengths, boxes = _sizes(table, keypoints)
    kept = (np.bincount(keypoints.pair[keypoints.seen], minlength=len(table)) > 0) & (lengths > 0)
    if not kept.any():
        raise PeftCorrError(
            f"dataset.hold_out leaves {dataset.name} no {dataset.split} pair: hold fewer keypoints or categories out."
        )
    for name in ("keypoint_ids", "source_keypoints", "target_keypoints", "target_occluded"):
        if name in table.column_names and not table.column(name).null_count:
            table = _replaced(table, name, _cut(_whole(table, name), keypoints))
    table = _replaced(table, "reference_length", pa.array(lengths))
    for side, (drawn, corners) in boxes.items():
        if drawn.any():
            given = _whole(table, f"{side}_box").to_pylist()
            new = [box if own else old for own, box, old in zip(drawn, corners.tolist(), given, strict=True)]
            table = _replaced(table, f"{side}_box", pa.array(new))
    table = table.filter(pa.array(kept)).combine_chunks()
    return replace(dataset, table=datasets.Dataset(table, info=dataset.table.info))


@dataclass(frozen=True)
class _Keypoints:
    """N correspondences of P pairs.

    Attributes:
        pair: of each, (N,).
        seen: whether a training may see it, (N,).
        points: in the source and in the target, (2, N, 2).
    """

    pair: Ints
    seen: Flags
    points: Floats

    @classmethod
    def of(cls, table: pa.Table, held: HeldOut) -> _Keypoints:
        ids = _whole(table, "keypoint_ids")
        pair = pc.list_parent_indices(ids).to_numpy()
        name, category = ids.flatten().dictionary_encode(), _whole(table, "category").dictionary_encode()
        places = {text: number for number, text in enumerate(name.dictionary.to_pylist())}
        allowed = np.zeros((len(category.dictionary), max(1, len(places))), dtype=np.bool_)
        for number, text in enumerate(category.dictionary.to_pylist()):
            hidden = held.hidden(text, places)
            allowed[number, [place for own, place in places.items() if own not in hidden]] = True
        seen = allowed[category.indices.to_numpy()[pair], name.indices.to_numpy()]
        points = [_whole(table, f"{side}_keypoints").flatten().flatten().to_numpy() for side in _SIDES]
        return cls(pair, seen, np.array(points).reshape(2, -1, 2))


def _sizes(table: pa.Table, keypoints: _Keypoints) -> tuple[Floats, dict[str, tuple[Flags, Floats]]]:
    """s of each pair (P,), 0 where nothing measures it any more; and of each side which boxes are new, and these."""
    sides = [_boxes(table, side) for side in _SIDES]
    number = _objects(table, sides)
    given = np.concatenate(sides)
    first = np.unique(number, return_index=True)[1]
    owner = number.reshape(2, -1)[:, keypoints.pair]  # object of each place, (2, N)
    whole = _round(owner, keypoints.points, len(first))
    left = _round(owner[:, keypoints.seen], keypoints.points[:, keypoints.seen], len(first))
    drawn = (whole == given[first]).all(axis=1)[number].reshape(2, -1)
    corners = left[number].reshape(2, -1, 4)
    # Without a box s may still be of the keypoints, of the pair's own.
    target = keypoints.pair[None], keypoints.points[1:]
    own = np.isnan(sides[1][:, 0]) & (
        _side(_round(*target, len(table))) == table.column("reference_length").to_numpy()
    )
    some = keypoints.pair[None, keypoints.seen], keypoints.points[1:, keypoints.seen]
    lengths = np.where(own, _side(_round(*some, len(table))), table.column("reference_length").to_numpy())
    lengths = np.where(drawn[1], _side(corners[1]), lengths)
    lengths = np.where(np.isfinite(lengths), lengths, 0.0)
    return lengths, {side: (drawn[place], corners[place]) for place, side in enumerate(_SIDES)}


def _objects(table: pa.Table, boxes: list[Floats]) -> Ints:
    """Number of the object on each side of each pair, sources first, (2 P,): of one category, image and box."""
    joined = [
        pc.binary_join_element_wise(table.column("category"), table.column(f"{side}_image"), "\0")
        for side in _SIDES
    ]
    names = (
        pa.concat_arrays([chunk for one in joined for chunk in one.chunks])
        .dictionary_encode()
        .indices.to_numpy()
    )
    keys = np.column_stack((names, np.nan_to_num(np.concatenate(boxes), nan=-np.inf)))
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)


def _round(owner: Ints, points: Floats, count: int) -> Floats:
    """The box round the points (S, N, 2) of each of `count` owners (S, N): (count, 4), infinite where it has none."""
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, owner.reshape(-1), points.reshape(-1, 2))
    np.maximum.at(high, owner.reshape(-1), points.reshape(-1, 2))
    return np.concatenate((low, high), axis=1)


def _side(boxes: Floats) -> Floats:
    longer: Floats = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    return longer


def _boxes(table: pa.Table, side: str) -> Floats:
    """x1, y1, x2, y2 of each pair (P, 4), NaN where there is none."""
    column = _whole(table, f"{side}_box")
    boxes = np.full((len(column), 4), np.nan)
    there = pc.fill_null(pc.list_value_length(column), 0).to_numpy() == 4
    boxes[there] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, 4)
    return boxes


def _cut(column: pa.ListArray, keypoints: _Keypoints) -> pa.ListArray:
    """A list column with the entries of the seen keypoints alone."""
    numbers = np.bincount(keypoints.pair[keypoints.seen], minlength=len(column))
    offsets = np.concatenate(([0], np.cumsum(numbers)))
    values = column.flatten().filter(pa.array(keypoints.seen))
    return type(column).from_arrays(pa.array(offsets.astype(np.int64)), values)


def _replaced(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    field = table.schema.field(place)
    return table.set_column(place, field, column.cast(field.type))


def _whole(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name).combine_chunks()
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
