"""What a folder holds that a labelling tool exported: the dataset that reads it, and the options that say where.

CVAT                annotations/person_keypoints_<subset>.json, images/<subset>/
Label Studio        result.json, images/
Roboflow            train|valid|test/_annotations.coco.json beside the images
COCO Annotator      one JSON file, beside the images or anywhere else
DeepLabCut          labeled-data/<video>/CollectedData_<scorer>.csv beside the frames
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from peftcorr.data.layouts.coco import CASES, SPLIT
from peftcorr.data.layouts.coco_annotation import read_annotation
from peftcorr.data.layouts.points import TABLES
from peftcorr.data.splits import WORDS
from peftcorr.errors import PeftCorrError, shortened
from peftcorr.files.reading import opened

# Where there is one file a split, and where its images then are.
_DIVIDED = (
    ("{split}/_annotations.coco.json", "{split}"),
    ("annotations/person_keypoints_{split}.json", "images/{split}"),
    ("annotations/{split}.json", "images"),
)
_HEAD = 1 << 16  # bytes: a file of another kind shows that it is none by its first ones
_SHOWN = 5


@dataclass(frozen=True)
class Export:
    """A dataset and its options, as ``--set`` takes them after ``dataset.``."""

    dataset: str
    options: dict[str, str] = field(default_factory=dict)


def recognised(folder: Path) -> Export:
    """The dataset that reads a folder as it was exported.

    Raises:
        PeftCorrError: if nothing in it is an annotation, several files are, or their images are not there.
    """
    if not folder.is_dir():
        raise PeftCorrError(f"{folder} is not a folder.")
    if (folder / "Layout").is_dir() and (folder / "PairAnnotation").is_dir():
        raise PeftCorrError(
            f"{folder} is in SPair-71k's layout (--dataset pairs), whose own lists say which pairs a split has."
        )
    if any(path.is_file() for pattern in TABLES for path in folder.glob(pattern)):
        return Export("points")
    for pattern, images in _DIVIDED:
        names = {case(word) for words in WORDS.values() for word in words for case in CASES}
        there = [name for name in names if (folder / pattern.replace(SPLIT, name)).is_file()]
        if len(there) > 1:
            return Export("coco", {"annotations": pattern, "images": images})
    found = [path for path in _json_files(folder) if _is_coco(path)]
    if not found:
        raise PeftCorrError(
            f"{folder} holds no annotation that is known: a JSON file in COCO's format, points.csv, or DeepLabCut's "
            "labeled-data. Say where it is with --set annotations=FILE images=FOLDER, or --set table=FILE."
        )
    if len(found) > 1:
        listed = ", ".join(shortened(_below(path, folder)) for path in found[:_SHOWN])
        raise PeftCorrError(
            f"{folder} holds several annotations ({listed}): choose one with --set annotations=FILE images=FOLDER."
        )
    return Export("coco", {"annotations": _below(found[0], folder), "images": _images(folder, found[0])})


def _json_files(folder: Path) -> Iterator[Path]:
    for pattern in ("*.json", "*/*.json"):
        yield from sorted(path for path in folder.glob(pattern) if path.is_file())


def _is_coco(path: Path) -> bool:
    """Whether a JSON file looks like one of COCO's format."""
    try:
        with opened(path) as stream:
            head = stream.read(_HEAD)
            size = stream.seek(0, 2)
            stream.seek(max(0, size - _HEAD))
            text = head + stream.read(_HEAD)
    except OSError:
        return False
    keys = (b'"images"', b'"annotations"', b'"categories"')
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{" and sum(key in text for key in keys) >= 2


def _images(folder: Path, annotation: Path) -> str:
    """The folder that the annotated images are in."""
    instances = read_annotation(annotation).instances
    if not instances:
        raise PeftCorrError(f"{annotation} has no object with keypoints.")
    first = instances[0].image
    inner = sorted(path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_dir())
    for place in (annotation.parent, folder, folder / "images", *inner):
        if (place / first).is_file():
            return _below(place, folder)
    raise PeftCorrError(
        f"{annotation} names images that are not below {folder} ({shortened(first)}, say): export them too and put "
        "them there."
    )


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
