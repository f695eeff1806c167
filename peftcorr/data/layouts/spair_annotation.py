"""One pair's annotation file in SPair-71k's layout, checked field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from peftcorr.data.layouts.fields import Coordinate, Name, Side, distinct, read_json, require_equal_counts


def _identifier(value: object) -> object:
    # published ids are strings; folders made by others often have numbers, which mean the same
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _has_area(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box
    if not (x2 > x1 and y2 > y1):
        raise ValueError(f"is {[x1, y1, x2, y2]}; it must be x1, y1, x2, y2 with x2 > x1 and y2 > y1")
    return box


Points = Annotated[list[tuple[Coordinate, Coordinate]], Field(min_length=1)]
Box = Annotated[tuple[Coordinate, Coordinate, Coordinate, Coordinate], AfterValidator(_has_area)]
Size = Annotated[list[Side], Field(min_length=2, max_length=3)]  # W, H and the number of channels
KeypointId = Annotated[str, BeforeValidator(_identifier)]
Variation = Annotated[int, Field(ge=-128, le=127)] | None


class PairAnnotation(BaseModel):
    """The fields of a ``PairAnnotation`` file that matching needs; others are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    category: Name
    src_imname: Name
    trg_imname: Name
    src_imsize: Size
    trg_imsize: Size
    src_bndbox: Box
    trg_bndbox: Box
    src_kps: Points
    trg_kps: Points
    kps_ids: Annotated[list[KeypointId], Field(min_length=1), AfterValidator(distinct)]
    viewpoint_variation: Variation = None
    scale_variation: Variation = None
    truncation: Variation = None
    occlusion: Variation = None
    mirror: Variation = None


def read_annotation(path: Path) -> PairAnnotation:
    """Read and check one pair.

    Raises:
        PeftCorrError: if the file cannot be read or a field is wrong, naming both.
    """
    pair = read_json(PairAnnotation, path)
    require_equal_counts(
        str(path), {name: len(getattr(pair, name)) for name in ("src_kps", "trg_kps", "kps_ids")}
    )
    return pair
