"""What of a dataset is kept from a training: keypoints and categories that no loss and no choice ever sees.

A model may learn correspondence, or only the keypoints that were annotated (Mariotti et al., "Jamais Vu", 2025,
arXiv:2506.08220). What is held out here is taken out of trn and val as they are loaded, for every dataset and plugin,
so that nothing behind the loader has to know; test is left whole and is scored apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from peftcorr.data.guard import TEST
from peftcorr.data.pair_dataset import PairDataset
from peftcorr.errors import PeftCorrError, did_you_mean, shown

Names = Mapping[str, Iterable[str]]
"""Keypoints that are annotated in each category."""

_Name = Annotated[str, Field(min_length=1, max_length=200, coerce_numbers_to_str=True)]
_Share = Annotated[float, Field(gt=0, lt=1, strict=True)]


class HoldOut(BaseModel):
    """The option ``hold_out`` of the dataset that is trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    keypoints: _Share | list[_Name] | None = Field(
        default=None,
        description="a share of each category's keypoints, drawn from the seed, or their names: 'nose' in every "
        "category, 'cat/nose' in one",
    )
    categories: list[_Name] = Field(default=[], description="categories of which nothing is seen")
    seed: int = Field(default=0, ge=0, lt=2**63, description="of the draw of keypoints")

    @model_validator(mode="after")
    def _something(self) -> HoldOut:
        if not self.keypoints and not self.categories:
            raise ValueError("it must hold out keypoints or categories")
        return self


@dataclass(frozen=True)
class HeldOut:
    """What a `HoldOut` comes to on one dataset.

    Attributes:
        keypoints: held out of each category of which others are seen, sorted; without categories that have none.
        categories: held out, sorted.
        seen: keypoints that may be trained on, of each category.
    """

    keypoints: dict[str, list[str]]
    categories: list[str]
    seen: dict[str, frozenset[str]]

    def unseen_of(self, names: Names) -> tuple[dict[str, list[str]], list[str]]:
        """What of some annotation no training may see: keypoints by category, and whole categories, sorted.

        That is what is held out, and what the training's own annotation does not have.
        """
        categories = sorted(set(names) - set(self.seen))
        keypoints = {
            name: sorted(set(names[name]) - self.seen[name]) for name in sorted(names) if name in self.seen
        }
        return {name: unseen for name, unseen in keypoints.items() if unseen}, categories


def held_out(option: HoldOut, names: Names, dataset: str) -> HeldOut:
    """Draw or look up what is held out.

    Of a share, each category gives the nearest whole number of its keypoints, at least one and never all: those whose
    SHA-256 of seed, category and name is the lowest. No generator and no order of files has a part in it.

    Args:
        option: of the recipe.
        names: of the training's annotation.
        dataset: its name, for messages.

    Raises:
        PeftCorrError: if a name is none of the dataset, or nothing would be left.
    """
    for category in option.categories:
        if category not in names:
            raise PeftCorrError(
                f"dataset.hold_out: {dataset} has no category {shown(category)}.{did_you_mean(category, names)}"
            )
    there = {name: sorted(set(own)) for name, own in sorted(names.items()) if name not in option.categories}
    if not there:
        raise PeftCorrError(f"dataset.hold_out leaves {dataset} no category: hold fewer out.")
    if isinstance(option.keypoints, list):
        keypoints = {name: _named(option.keypoints, name, own) for name, own in there.items()}
        _require_known(option.keypoints, there, dataset)
    else:
        share = option.keypoints or 0.0
        keypoints = {name: _drawn(share, option.seed, name, own) for name, own in there.items()}
    for name, own in there.items():
        if len(keypoints[name]) == len(own):
            raise PeftCorrError(
                f"dataset.hold_out leaves the category {shown(name)} of {dataset} no keypoint: name it under "
                "categories, or hold fewer keypoints out."
            )
    return HeldOut(
        {name: held for name, held in keypoints.items() if held},
        sorted(set(option.categories)),
        {name: frozenset(own) - frozenset(keypoints[name]) for name, own in there.items()},
    )


def _drawn(share: float, seed: int, category: str, keypoints: list[str]) -> list[str]:
    if not share or len(keypoints) < 2:
        return []
    number = min(len(keypoints) - 1, max(1, int(share * len(keypoints) + 0.5)))

    def rank(keypoint: str) -> bytes:
        return hashlib.sha256(f"{seed}\0{category}\0{keypoint}".encode()).digest()

    return sorted(sorted(keypoints, key=rank)[:number])


def _named(asked: list[str], category: str, keypoints: list[str]) -> list[str]:
    return [name for name in keypoints if name in asked or f"{category}/{name}" in asked]


def _require_known(asked: list[str], there: Mapping[str, list[str]], dataset: str) -> None:
    known = {name for own in there.values() for name in own}
    known |= {f"{category}/{name}" for category, own in there.items() for name in own}
    for name in asked:
        if name not in known:
            raise PeftCorrError(
                f"dataset.hold_out: {dataset} has no keypoint {shown(name)}.{did_you_mean(name, known)}"
            )


def keypoint_names(dataset: PairDataset) -> dict[str, list[str]]:
    """Keypoints that some pair of each category of a split has, sorted."""
    import pyarrow as pa
    import pyarrow.compute as pc

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
    """A split as a training may see it: pairs of seen categories, with their seen keypoints alone.

    Pairs that are left without a keypoint go. Where a box, and so the reference length s, is the one round an object's
    keypoints and not annotated, it is drawn again round those that are left, or s would tell of the others; an object
    whose keypoints then lie at one place goes too.

    Raises:
        PeftCorrError: if no pair is left.
    """
    if dataset.split == TEST:
        return dataset
    import datasets

    rows = dataset.table.with_format("arrow")[:].to_pylist()
    boxes = _Boxes(rows, held)
    kept = [row for row in (_without(row, held, boxes) for row in rows) if row is not None]
    if not kept:
        raise PeftCorrError(
            f"dataset.hold_out leaves {dataset.name} no {dataset.split} pair: hold fewer keypoints or categories out."
        )
    table = datasets.Dataset.from_list(kept, features=dataset.table.features)
    return replace(dataset, table=table)


_Row = dict[str, Any]
_Box = tuple[float, float, float, float]


class _Boxes:
    """Boxes of a split's objects that are those round their keypoints, and what they are without the held out ones."""

    def __init__(self, rows: list[_Row], held: HeldOut):
        points: dict[tuple[object, ...], dict[str, tuple[float, float]]] = {}
        for row in rows:
            for side in ("source", "target"):
                own = points.setdefault(_object(row, side), {})
                own.update(zip(row["keypoint_ids"], map(tuple, row[f"{side}_keypoints"]), strict=True))
        self._round: dict[tuple[object, ...], _Box | None] = {}
        for name, own in points.items():
            category, _, box = name
            seen = held.seen.get(str(category), frozenset())
            if box and _round(own.values()) == box:
                self._round[name] = _round(point for keypoint, point in own.items() if keypoint in seen)

    def of(self, row: _Row, side: str) -> tuple[bool, _Box | None]:
        """Whether a box was one round keypoints, and what it is now: None where nothing of it is left."""
        name = _object(row, side)
        return name in self._round, self._round.get(name)


def _object(row: _Row, side: str) -> tuple[object, ...]:
    return row["category"], row[f"{side}_image"], tuple(row[f"{side}_box"] or ())


def _round(points: Iterable[tuple[float, float]]) -> _Box | None:
    listed = list(points)
    if not listed:
        return None
    xs, ys = zip(*listed, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _without(row: _Row, held: HeldOut, boxes: _Boxes) -> _Row | None:
    seen = held.seen.get(row["category"])
    if seen is None:
        return None
    keep = [place for place, name in enumerate(row["keypoint_ids"]) if name in seen]
    if not keep:
        return None
    made = dict(row)
    for column in ("keypoint_ids", "source_keypoints", "target_keypoints", "target_occluded"):
        if row.get(column):
            made[column] = [row[column][place] for place in keep]
    for side in ("source", "target"):
        drawn, box = boxes.of(row, side)
        if drawn:
            made[f"{side}_box"] = None if box is None else list(box)
    length = _length(row, made, boxes)
    return None if length is None else {**made, "reference_length": length}


def _length(row: _Row, made: _Row, boxes: _Boxes) -> float | None:
    """s without the keypoints that are held out, where it is of keypoints; None where nothing measures the object."""
    length: float = row["reference_length"]
    drawn, box = boxes.of(row, "target")
    if not drawn:
        whole = None if row["target_box"] else _round(map(tuple, row["target_keypoints"]))
        if whole is None or _side(whole) != length:
            return length
        box = _round(map(tuple, made["target_keypoints"]))
    side = 0.0 if box is None else _side(box)
    return side or None


def _side(box: _Box) -> float:
    return max(box[2] - box[0], box[3] - box[1])
