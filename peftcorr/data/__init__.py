"""Datasets: where pairs of images and their keypoints come from; naming them imports none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peftcorr.registry import Registry

if TYPE_CHECKING:
    from peftcorr.data.base import DatasetSource

__all__ = ["DATASETS"]

DATASETS: Registry[DatasetSource] = Registry(
    "dataset", "peftcorr.datasets", "peftcorr.data.base:DatasetSource"
)
for _name, _target, _summary in (
    ("spair71k", "layouts.spair:Spair71k", "SPair-71k (Min et al., 2019), as published."),
    ("pairs", "layouts.spair:SpairFolder", "Any folder in SPair-71k's layout."),
    (
        "spair_u",
        "layouts.spair_u:SpairU",
        "SPair-U (Mariotti et al., 2025): pairs of SPair-71k with other keypoints.",
    ),
    (
        "mp100",
        "layouts.mp100:Mp100",
        "MP-100 (Xu et al., 2022): trn, val and test have no category in common.",
    ),
    ("cub", "layouts.cub:Cub", "CUB-200-2011 (Wah et al., 2011): the visible parts of birds."),
    (
        "pf_pascal",
        "layouts.pf_pascal:PfPascal",
        "PF-Pascal (Ham et al., 2017), the published pairs.",
    ),
    (
        "ap10k",
        "layouts.ap10k:Ap10k",
        "AP-10K (Yu et al., 2021) in the three settings of GeoAware-SC.",
    ),
    (
        "coco",
        "layouts.coco:Coco",
        "Any folder in COCO's keypoint format, pairs drawn from a seed.",
    ),
    (
        "points",
        "layouts.points:Points",
        "Any folder with a table of keypoints, pairs drawn from a seed.",
    ),
    ("pf_willow", "layouts.pf_willow:PfWillow", "PF-Willow (Ham et al., 2016), all 900 pairs."),
    (
        "tapvid_davis",
        "layouts.tapvid:TapvidDavis",
        "TAP-Vid DAVIS point tracking (Doersch et al., 2022).",
    ),
    (
        "tapvid_rgb_stacking",
        "layouts.tapvid:TapvidRgbStacking",
        "TAP-Vid RGB-Stacking point tracking (Doersch et al., 2022).",
    ),
    (
        "tapvid_kinetics",
        "layouts.tapvid:TapvidKinetics",
        "TAP-Vid Kinetics point tracking (Doersch et al., 2022).",
    ),
    ("tapvid_robotap", "layouts.tapvid:TapvidRobotap", "RoboTAP point tracking (Vecerik et al., 2023)."),
    ("synthetic", "synthetic.source:Synthetic", "Articulated objects rendered on the CPU."),
):
    DATASETS.lazy(_name, f"peftcorr.data.{_target}", _summary)
