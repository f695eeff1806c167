"""Ways to run the same encoder: attention, memory layout, precision, compilation."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from peftcorr.backbones import Backbone
from peftcorr.data.correspondences import correspondences
from peftcorr.data.images import ImageStore
from peftcorr.engine.evaluate import Evaluator, Split
from peftcorr.features.encode import Autocast, Encoder, autocast
from timing.evaluation import difference
from timing.settings import (
    BATCH,
    QUICK_PAIRS,
    SILENT,
    WEIGHTS,
    Settings,
    accelerator,
    available,
    dataset,
    dinov2,
    predictors,
    ratio,
    shared,
)

NAME = "encoder-variants"
SIZE = 224
_FOLDER = "data/pf-willow"

Forward = Callable[[Tensor], Tensor]


@dataclass
class Variant:
    """One way, timed on the same batches in turn with the others.

    Attributes:
        scored: largest difference, in percent, of any PCK on PF-Willow from the first variant's; None if not scored.
    """

    name: str
    forward: Forward
    seconds: list[float] = field(default_factory=list)
    feature_difference: float = 0.0
    scored: float | None = None
    error: str | None = None


def measure(settings: Settings) -> list[dict[str, Any]] | None:
    """Time every variant on PF-Willow's photographs; None if they are not there."""
    if not available(_FOLDER, WEIGHTS):
        return None
    opened = dataset("pf_willow", shared() / _FOLDER, "test", settings.work / "cache")
    if settings.quick:
        opened = opened.limited(QUICK_PAIRS)
    data = correspondences(opened)
    split = Split(opened, data, ImageStore(opened.image_root, SIZE))
    backbone = dinov2(SIZE)
    batch = backbone.preprocess(split.store.get(data.images[:BATCH], data.sizes[:BATCH]))
    variants = _variants(backbone)
    with torch.inference_mode():
        expected = variants[0].forward(batch)
        for variant in variants:
            _warm_up(variant, batch, expected)
        for _ in range(3 * settings.repetitions):
            for variant in (v for v in variants if v.error is None):
                begun = time.perf_counter()
                variant.forward(batch)
                variant.seconds.append(time.perf_counter() - begun)
    _score_rounded(split, backbone, variants)
    base = variants[0].seconds
    return [
        {
            "name": v.name,
            "images_per_second": len(batch) / statistics.median(v.seconds) if v.seconds else None,
            "times_default": ratio(base, v.seconds) if v.seconds else None,
            "feature_difference": v.feature_difference,
            "score_difference": v.scored,
            "error": v.error,
        }
        for v in variants
    ]


def _variants(backbone: Backbone) -> list[Variant]:
    eager = dinov2(SIZE)
    transformer = eager.model
    assert isinstance(transformer, PreTrainedModel)
    transformer.set_attn_implementation("eager")
    compiled = torch.compile(backbone.features)
    rounded = autocast("bf16", torch.device("cpu"))

    def in_bf16(images: Tensor) -> Tensor:
        with rounded():
            return backbone.features(images)

    return [
        Variant("fp32, SDPA (the default)", backbone.features),
        Variant("eager attention", eager.features),
        Variant(
            "channels-last images",
            lambda images: backbone.features(images.contiguous(memory_format=torch.channels_last)),
        ),
        Variant("torch.compile", compiled),
        Variant("bf16 autocast (score_precision: bf16)", in_bf16),
    ]


def _warm_up(variant: Variant, batch: Tensor, expected: Tensor) -> None:
    try:
        variant.forward(batch)
        found = variant.forward(batch).float()
    except Exception as error:  # no compiler on this machine, say: that is what the table is to show
        variant.error = f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
        return
    variant.feature_difference = float((found - expected).abs().max() / expected.abs().max())


def _score_rounded(split: Split, backbone: Backbone, variants: list[Variant]) -> None:
    """How far the scores of a whole dataset move with the precision."""
    contexts: list[Autocast] = [nullcontext, autocast("bf16", torch.device("cpu"))]
    full, rounded = (
        Evaluator(Encoder(backbone, None, None, context), accelerator(), BATCH, SILENT)
        .predict(split, predictors())
        .points
        for context in contexts
    )
    rows = torch.arange(len(split.data)).numpy()
    variants[-1].scored = difference(split.data, rows, full, rounded)
