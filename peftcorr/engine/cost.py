"""What a run will take, from shapes alone: nothing is loaded and nothing is computed."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from peftcorr.backbones.base import Backbone
from peftcorr.engine.plan import Model
from peftcorr.errors import PeftCorrError
from peftcorr.recipe import Training
from peftcorr.strategies.base import apply_checked


@dataclass(frozen=True)
class Estimate:
    """Parameters, and floating-point operations for one image forward and for one trained image."""

    trainable: int
    total: int
    forward_flops: int
    train_flops: int


def estimate(model: Model) -> Estimate:
    """Count a model's parameters and operations on the meta device.

    Raises:
        PeftCorrError: if the strategy cannot be applied to the backbone.
    """
    backbone, strategy = model.shapes()
    size = model.options.image_size
    images = torch.zeros((1, 3, size, size), device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        backbone.features(images)
    if not strategy.trains():
        return Estimate(0, backbone.total_parameters(), forward.get_total_flops(), 0)
    first = strategy.first_trainable_block(backbone)
    with torch.no_grad():
        state = backbone.prefix(images, first)
    with FlopCounterMode(display=False) as training:
        torch.autograd.backward(backbone.suffix(state, first).sum())
    return Estimate(
        backbone.trainable_parameters(),
        backbone.total_parameters(),
        forward.get_total_flops(),
        training.get_total_flops(),
    )


def trained_images(training: Training) -> int:
    """Images that go through training, over all steps of one process (the search included)."""
    each = training.images if training.sampler == "cliques" else 2 * training.pairs
    steps = training.steps
    if training.search is not None:
        steps += training.search.steps * len(training.search.learning_rates)
    return steps * training.accumulation * each


def machine_speed() -> float:
    """Floating-point operations a second of a product the size that these encoders do, measured for half a second."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows, inner, columns = 2048, 384, 1536
    left, right = torch.randn((rows, inner), device=device), torch.randn((inner, columns), device=device)
    begun, count = time.monotonic(), 0
    while time.monotonic() - begun < 0.5:
        float((left @ right)[0, 0])
        count += 1
    return count * 2 * rows * inner * columns / (time.monotonic() - begun)


def parameter_counts(
    backbone_class: type[Backbone], strategies: Sequence[str]
) -> Iterator[tuple[str, tuple[int, int] | PeftCorrError]]:
    """Trainable and total parameters of a backbone with each strategy at its default options.

    Returns:
        name of the strategy, and its counts or why it cannot be applied.

    Raises:
        PeftCorrError: if a strategy is unknown, or the backbone itself cannot be built.
    """
    from peftcorr.strategies import STRATEGIES

    pretrained = backbone_class.build(backbone_class.Config(), None)
    for name in strategies:
        cls = STRATEGIES.get(name)
        backbone = copy.deepcopy(pretrained)
        try:
            apply_checked(cls(cls.Config()), backbone)
        except PeftCorrError as error:
            yield name, error
        else:
            yield name, (backbone.trainable_parameters(), backbone.total_parameters())
