"""The columns of a table of pairs, one row a pair, whatever dataset it comes from."""

from __future__ import annotations

import datasets

_POINTS = datasets.List(datasets.List(datasets.Value("float64")))
_BOX = datasets.List(datasets.Value("float64"))

PAIR_FEATURES = datasets.Features(
    {
        "pair_id": datasets.Value("string"),
        "category": datasets.Value("string"),
        "source_image": datasets.Value("string"),  # POSIX path below the dataset's image folder
        "target_image": datasets.Value("string"),
        # [W, H] as annotated, empty if not annotated; a third number is the EXIF orientation to apply to the file's
        # pixels, where the size alone does not tell it (`peftcorr.data.keypoint_frame`)
        "source_size": datasets.List(datasets.Value("int32")),
        "target_size": datasets.List(datasets.Value("int32")),
        "source_keypoints": _POINTS,  # (K, 2) x, y in original pixels, pixel centres on integers
        "target_keypoints": _POINTS,
        "target_occluded": datasets.List(
            datasets.Value("bool")
        ),  # (K,), null where the dataset does not tell
        "keypoint_ids": datasets.List(datasets.Value("string")),  # (K,)
        "source_box": _BOX,  # x1, y1, x2, y2; empty if not annotated
        "target_box": _BOX,
        "reference_length": datasets.Value("float64"),  # s: correct when distance <= alpha * s
        "viewpoint_variation": datasets.Value("int8"),  # the fields of SPair-71k, null elsewhere
        "scale_variation": datasets.Value("int8"),
        "truncation": datasets.Value("int8"),
        "occlusion": datasets.Value("int8"),
        "mirror": datasets.Value("int8"),
    }
)
