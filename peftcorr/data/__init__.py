"""Datasets: where pairs of images and their keypoints come from."""

from peftcorr.data.base import DATASETS

__all__ = ["DATASETS"]

DATASETS.lazy(
    "spair71k", "peftcorr.data.layouts.spair:Spair71k", "SPair-71k (Min et al., 2019), as published"
)
DATASETS.lazy("pairs", "peftcorr.data.layouts.spair:SpairFolder", "Any folder in SPair-71k's layout")
DATASETS.lazy(
    "pf_pascal",
    "peftcorr.data.layouts.pf_pascal:PfPascal",
    "PF-Pascal (Ham et al., 2017), the published pairs",
)
DATASETS.lazy(
    "ap10k",
    "peftcorr.data.layouts.ap10k:Ap10k",
    "AP-10K (Yu et al., 2021) in the three settings of GeoAware-SC",
)
DATASETS.lazy(
    "coco", "peftcorr.data.layouts.coco:Coco", "Any folder in COCO's keypoint format, pairs drawn from a seed"
)
DATASETS.lazy(
    "pf_willow", "peftcorr.data.layouts.pf_willow:PfWillow", "PF-Willow (Ham et al., 2016), all 900 pairs"
)
DATASETS.lazy(
    "tapvid_davis",
    "peftcorr.data.layouts.tapvid:TapvidDavis",
    "TAP-Vid DAVIS point tracking (Doersch et al., 2022)",
)
DATASETS.lazy(
    "synthetic", "peftcorr.data.synthetic.source:Synthetic", "Articulated objects rendered on the CPU"
)
