"""Gradient checkpointing: what a block computed is not kept, but computed again when its gradient is.

Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch.utils.checkpoint import checkpoint

from peftcorr.backbones.base import Backbone


@contextmanager
def checkpointing(backbone: Backbone, wanted: bool = True) -> Iterator[None]:
    """Checkpoint every block of a backbone in the block of code, if it is `wanted`.

    What is random in a block is drawn again as it was; parameters keep their names.
    """
    blocks = list(backbone.blocks()) if wanted else []
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the class's own again
