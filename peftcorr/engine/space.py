"""How many bytes a run will write, from shapes and counts alone."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc
import torch

from peftcorr.backbones.base import Backbone, TokenState
from peftcorr.data.base import PairDataset
from peftcorr.engine.plan import Plan
from peftcorr.engine.workbench import Workbench
from peftcorr.files import digest

_PREDICTION = 12  # bytes of a compressed row of predictions: 14 to 24 were measured
_STATES = (
    2 * 4
)  # while one is written the last is still there; tensors, the best ones, and two moments of Adam
_WHOLE = -1  # in place of the first trainable block: none is


@dataclass(frozen=True)
class Space:
    """Bytes of one run.

    Attributes:
        kept: predictions and adapter, in the output folder for good.
        state: of the training under way, in the output folder until the run is done.
        prefixes: what the frozen blocks make of the images, in the temporary folder while it trains, or in the cache.
        tested: likewise of the images that are scored, or their features where the backbone is frozen; in the cache,
            where runs share it and it has room.
        common: equal for runs that may share that; empty where there is nothing to share.
    """

    kept: int
    state: int
    prefixes: int
    tested: int = 0
    common: str = ""


def space(plan: Plan, bench: Workbench) -> Space:
    """An estimate of what a run writes, on the small side; nothing is loaded but the annotation."""
    rows = sum(_points(bench.opened(source, "test"), plan.recipe.limit_pairs) for source in plan.tested)
    predictions = rows * len(plan.predictors) * _PREDICTION
    try:
        backbone, strategy = plan.model.shapes()
    except (
        Exception
    ):  # impossible, which is said when it is this run's turn; or a plugin's that has no shapes alone
        return Space(predictions, 0, 0)
    scored = sum(
        _images(bench.opened(source, "test").limited(plan.recipe.limit_pairs)) for source in plan.tested
    )
    if not plan.trains:
        cells = plan.model.options.image_size // backbone.stride
        return Space(predictions, 0, 0, 4 * cells**2 * backbone.channels * scored, _common(plan, _WHOLE))
    tensors = 4 * backbone.trainable_parameters()
    first, dtype = kept_blocks(plan, strategy.first_trainable_block(backbone))
    if dtype is None:
        return Space(predictions + tensors, _STATES * tensors, 0)
    splits = [split for split in ("trn", "val") if split in plan.dataset.splits()]
    images = sum(_images(bench.opened(plan.dataset, split)) for split in splits)
    numbers = prefix_shape(backbone, first).tokens.numel()
    size, common = numbers * dtype.itemsize, _common(plan, first)
    tested = 4 * numbers * scored if scored_from(plan) else 0
    return Space(predictions + tensors, _STATES * tensors, images * size, tested, common)


def scored_from(plan: Plan) -> int:
    """Block from which a trained backbone is scored, where runs share the output of those before it.

    It is kept as it is computed: in full precision.
    """
    if not plan.trains or plan.recipe.score_precision != "fp32":
        return 0
    backbone, strategy = plan.model.shapes()
    first, dtype = kept_blocks(plan, strategy.first_trainable_block(backbone))
    return first if dtype == torch.float32 else 0


def kept_blocks(plan: Plan, first: int) -> tuple[int, torch.dtype | None]:
    """First trainable block, and how the output of those before it is kept; None where it is not."""
    training = plan.recipe.training
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}.get(training.prefix_cache)
    return first, None if first == 0 or training.colour_jitter else dtype


def prefix_shape(backbone: Backbone, first: int) -> TokenState:
    """State (1, T, D) that a backbone on the meta device hands to a block."""
    size = backbone.config.image_size
    with torch.no_grad():
        return backbone.prefix(torch.zeros((1, 3, size, size), device="meta"), first)


def _common(plan: Plan, first: int) -> str:
    """What runs have in common that may share the output of their frozen blocks, or of a frozen backbone."""
    recipe, weights = plan.recipe, plan.model.weights
    read: list[object]
    if plan.trains:
        read = [recipe.dataset, recipe.training.prefix_cache]
    else:  # features of the tested images alone; of a dataset that holds something out, of the same ones
        tested = [{**section, "hold_out": None} for section in (recipe.dataset, *recipe.eval_on)]
        read = [recipe.score_precision, sorted(map(digest, tested))]
    # A convention resizes images in its own way.
    return digest([recipe.backbone, weights and weights.sha256, first, recipe.convention, read])


def _points(dataset: PairDataset, limit: int | None) -> int:
    """How many correspondences a split has, or about as many as those of some of its pairs."""
    table = dataset.table.with_format("arrow")[:]
    points: int = pc.sum(pc.list_value_length(table.column("target_keypoints"))).as_py() or 0
    return points if limit is None else points * min(limit, len(table)) // max(len(table), 1)


def _images(dataset: PairDataset) -> int:
    table = dataset.table.with_format("arrow")[:]
    names = [table.column(name).unique().to_pylist() for name in ("source_image", "target_image")]
    return len({name for column in names for name in column})
