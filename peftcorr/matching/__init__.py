"""Matching: similarity maps, predictors and the training loss; naming the predictors imports none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peftcorr.registry import Registry

if TYPE_CHECKING:
    from peftcorr.matching.predictors import Predictor

__all__ = ["PREDICTORS"]

PREDICTORS: Registry[Predictor] = Registry(
    "predictor", "peftcorr.predictors", "peftcorr.matching.predictors:Predictor"
)
for _name, _target, _summary in (
    ("argmax", "predictors:Argmax", "The centre of the most similar cell."),
    (
        "bilinear_argmax",
        "predictors:BilinearArgmax",
        "The peaks of the four cells round the keypoint, mixed by its bilinear weights (SD4Match, Visual-AI).",
    ),
    (
        "window_softargmax",
        "predictors:WindowSoftargmax",
        "Softmax over a square window round the peak, everything outside at minus infinity (Men et al.).",
    ),
    ("softargmax", "predictors:Softargmax", "Softmax over the whole map."),
    (
        "kernel_softmax",
        "predictors:KernelSoftmax",
        "Softmax of the map times a Gaussian round its peak (kernel soft-argmax: Lee et al., SFNet, CVPR 2019).",
    ),
    (
        "upsampled_argmax",
        "upsampled:UpsampledArgmax",
        "The most similar pixel of the target's features brought bilinearly to the input's size (DIFT).",
    ),
    (
        "tuned",
        "tuned:Tuned",
        "What ``peftcorr tune-predictor`` chose on val for the backbone; a run writes its setting in this one's place.",
    ),
):
    PREDICTORS.lazy(_name, f"peftcorr.matching.{_target}", _summary)
