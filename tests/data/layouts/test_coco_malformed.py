"""Malformed annotations in COCO's format: one sentence with file and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from peftcorr.errors import PeftCorrError
from tests.data.layouts.test_coco import Change, change, load
from tests.published_layouts import coco_content, write_coco


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "farm")


def put(part: str, index: int, field: str, value: Any) -> Change:
    return lambda content: content[part][index].update({field: value})


MALFORMED: dict[str, tuple[Change, str]] = {
    "no images": (lambda c: c.pop("images"), "the field images is missing"),
    "annotations of another type": (
        lambda c: c.update(annotations={}),
        r"annotations is \{\}; it must be a valid array",
    ),
    "box as text": (put("annotations", 1, "bbox", "1 2 3 4"), r"annotations\.1\.bbox is '1 2 3 4'"),
    "box of three": (
        put("annotations", 1, "bbox", [1, 2, 3]),
        r"the field annotations\.1\.bbox\.3 is missing",
    ),
    "negative width": (put("annotations", 1, "bbox", [1, 2, -3, 4]), r"annotations\.1\.bbox\.2 is -3"),
    "box without size": (
        put("annotations", 1, "bbox", [1, 2, 0, 0]),
        r"annotations\.1\.bbox .* must have a size",
    ),
    "NaN": (put("annotations", 1, "bbox", [1, float("nan"), 3, 4]), r"annotations\.1\.bbox\.1 is nan"),
    "huge": (
        put("annotations", 0, "keypoints", [1e30] * 15),
        r"annotations\.0\.keypoints\.0 is 1e\+30; .* less than or equal to 1000000",
    ),
    "beyond a float": (put("annotations", 0, "area", 10**400), r"annotations\.0\.area is "),
    "infinite area": (put("annotations", 0, "area", float("inf")), r"annotations\.0\.area is inf"),
    "text": (
        put("annotations", 0, "keypoints", ["1"] * 15),
        r"annotations\.0\.keypoints\.0 is '1'; .* a valid number",
    ),
    "cut triple": (put("annotations", 0, "keypoints", [1] * 14), r"annotations\.0\.keypoints has 14 entries"),
    "too few": (
        put("annotations", 0, "keypoints", [1] * 12),
        r"annotations\.0\.keypoints has 12 .* 'bird' names 5",
    ),
    "visibility": (
        put("annotations", 0, "keypoints", [1, 1, 7] * 5),
        r"annotations\.0\.keypoints has the visibility 7",
    ),
    "unknown image": (put("annotations", 2, "image_id", 99), r"annotations\.2\.image_id is 99; no image"),
    "unknown category": (
        put("annotations", 2, "category_id", 99),
        r"annotations\.2\.category_id is 99; no category",
    ),
    "id as a list": (
        put("annotations", 2, "image_id", [3]),
        r"annotations\.2\.image_id is \[3\]; it must be a whole number or text",
    ),
    "id as a fraction": (put("images", 2, "id", 3.5), r"images\.2\.id is 3\.5; it must be a whole number"),
    "unknown id as text": (
        put("annotations", 2, "image_id", "x3"),
        r"image_id is 'x3'; no image has this id",
    ),
    "id twice, once as text": (put("images", 2, "id", "1"), r"images\.2\.id is 1, which an earlier one has"),
    "visible without a place": (
        put("annotations", 0, "keypoints", [None, 1, 2] * 5),
        r"annotations\.0\.keypoints has no place of keypoint 0, which is visible \(2\)",
    ),
    "visible at no number": (
        put("annotations", 0, "keypoints", [1, 1, 2, 1, float("nan"), 1] + [0] * 9),
        r"annotations\.0\.keypoints has no place of keypoint 1, which is visible \(1\)",
    ),
    "infinite": (
        put("annotations", 0, "keypoints", [1, 1, 2, 1, float("inf"), 0] + [0] * 9),
        r"annotations\.0\.keypoints\.4 is inf",
    ),
    "crowd": (put("annotations", 2, "iscrowd", 2), r"annotations\.2\.iscrowd is 2; it must be 0 or 1"),
    "size zero": (
        put("images", 2, "width", 0),
        r"images\.2\.width is 0; it must be greater than or equal to 1",
    ),
    "size as a fraction": (
        put("images", 2, "height", 4.5),
        r"images\.2\.height is 4\.5; it must be a valid integer",
    ),
    "id twice": (put("images", 2, "id", 1), r"images\.2\.id is 1, which an earlier one has"),
    "file twice": (
        put("images", 2, "file_name", f"{1:012d}.jpg"),
        r"images\.2\.file_name is '0+1\.jpg', which",
    ),
    "missing image": (
        put("images", 0, "file_name", "no.jpg"),
        r"file_name names a missing image, .*images/no\.jpg",
    ),
    "path outwards": (
        put("images", 0, "file_name", "../a.jpg"),
        r"images\.0\.file_name is '\.\./a\.jpg'; .* inside",
    ),
    "absolute path": (put("images", 0, "file_name", "/etc/passwd"), r"images\.0\.file_name is '/etc/passwd'"),
    "control character": (put("images", 0, "file_name", "a\tb.jpg"), r"images\.0\.file_name is 'a\\tb\.jpg'"),
    "category twice": (
        put("categories", 1, "name", "bird"),
        r"categories\.1\.name is 'bird', which an earlier",
    ),
    "category id twice": (put("categories", 1, "id", 1), r"categories\.1\.id is 1, which an earlier"),
    "name with a line break": (
        put("categories", 1, "name", "a\nb"),
        r"categories\.1\.name is 'a\\nb'; .* printable",
    ),
    "keypoint named twice": (
        put("categories", 0, "keypoints", ["a", "b", "c", "a", "d"]),
        r"keypoints has 'a' twice",
    ),
    "nobody": (lambda c: c.update(annotations=[]), "farm has no test pair, since no two images"),
}


@pytest.mark.parametrize(("mutate", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_annotation_names_file_and_field(root: Path, mutate: Change, message: str) -> None:
    path = change(root, mutate)
    with pytest.raises(PeftCorrError, match=message) as caught:
        load(root)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (json.dumps(coco_content()).encode("utf-16"), "not UTF-8 text"),
        (b"[]", r"the file is \[\]; it must be an object"),
        (b'{"images": [], "annotations": [], "categories": [{"id": %s}]}' % (b"9" * 5000), "not valid JSON"),
    ],
    ids=["empty", "deep", "utf-16", "a list", "5,000 digits"],
)
def test_file_that_is_no_annotation(root: Path, content: bytes, message: str) -> None:
    path = root / "annotations" / "test.json"
    path.write_bytes(content)
    with pytest.raises(PeftCorrError, match=message) as caught:
        load(root)
    assert str(caught.value).startswith(str(path))
