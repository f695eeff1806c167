"""How many bytes a run will write, from shapes and counts alone."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc
import torch

from peftcorr.data.base import PairDataset
from peftcorr.engine.plan import Plan
from peftcorr.engine.workbench import Workbench

_PREDICTION = 12  # bytes of a compressed row of predictions: 14 to 24 were measured
_STATES = (
    2 * 4
)  # while one is written the last is still there; tensors, the best ones, and two moments of Adam


@dataclass(frozen=True)
class Space:
    """Bytes of one run.

    Attributes:
        kept: predictions and adapter, in the output folder for good.
        state: of the training under way, in the output folder until the run is done.
        prefixes: what the frozen blocks make of the images, in the temporary folder while it trains.
    """

    kept: int
    state: int
    prefixes: int


def space(plan: Plan, bench: Workbench) -> Space:
    """An estimate of what a run writes, on the small side; nothing is loaded but the annotation."""
    rows = sum(_points(bench.opened(source, "test"), plan.recipe.limit_pairs) for source in plan.tested)
    predictions = rows * len(plan.predictors) * _PREDICTION
    if not plan.trains:
        return Space(predictions, 0, 0)
    try:
        backbone, strategy = plan.model.shapes()
    except (
        Exception
    ):  # impossible, which is said when it is this run's turn; or a plugin's that has no shapes alone
        return Space(predictions, 0, 0)
    tensors = 4 * backbone.trainable_parameters()
    first = strategy.first_trainable_block(backbone)
    training = plan.recipe.training
    kept_as = {"fp32": 4, "bf16": 2}.get(training.prefix_cache)
    prefixes = 0
    if first > 0 and kept_as is not None and not training.colour_jitter:
        size = backbone.config.image_size
        with torch.no_grad():
            state = backbone.prefix(torch.zeros((1, 3, size, size), device="meta"), first)
        splits = [split for split in ("trn", "val") if split in plan.dataset.splits()]
        images = sum(_images(bench.opened(plan.dataset, split)) for split in splits)
        prefixes = images * state.tokens.numel() * kept_as
    return Space(predictions + tensors, _STATES * tensors, prefixes)


def _points(dataset: PairDataset, limit: int | None) -> int:
    """How many correspondences a split has, or about as many as those of some of its pairs."""
    table = dataset.table.with_format("arrow")[:]
    points: int = pc.sum(pc.list_value_length(table.column("target_keypoints"))).as_py() or 0
    return points if limit is None else points * min(limit, len(table)) // max(len(table), 1)


def _images(dataset: PairDataset) -> int:
    table = dataset.table.with_format("arrow")[:]
    names = [table.column(name).unique().to_pylist() for name in ("source_image", "target_image")]
    return len({name for column in names for name in column})
