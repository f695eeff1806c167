"""What the runs of a sweep have in common is computed once: the output of frozen blocks, kept in the cache folder."""

from __future__ import annotations

import numpy as np
import torch

from peftcorr.engine.evaluate import Split
from peftcorr.engine.plan import Plan
from peftcorr.engine.space import prefix_shape
from peftcorr.engine.workbench import Workbench
from peftcorr.features.cache import FeatureCache, NoRoom
from peftcorr.features.encode import Encoder
from peftcorr.features.shared import SharedPrefixes


def shared_prefixes(
    plan: Plan, bench: Workbench, encoder: Encoder, split: Split, dtype: torch.dtype
) -> SharedPrefixes | None:
    """What a run keeps of a split for others too; None where it shares nothing, or the cache has no room for it.

    Args:
        plan: of the run.
        bench: says which runs share, and where.
        encoder: with its first trainable block.
        split: trained or selected on.
        dtype: how states are kept.
    """
    if plan.run_id not in bench.shared:
        return None
    assert plan.model.weights is not None
    first, data, store = encoder.first_trainable, split.data, split.store
    shape = prefix_shape(plan.model.shapes()[0], first)
    numbers = np.arange(len(data.images))
    cache = FeatureCache(bench.cache, plan.model.weights.id, bench.cache_limit)
    try:
        shelf = cache.shelf(
            data, store, encoder, numbers, tuple(shape.tokens.shape[1:]), bench.progress.say, first, dtype
        )
    except NoRoom as error:
        bench.progress.say(error.instead())
        return None
    keys = {encoder.key(data, int(n)): int(n) for n in numbers}
    return SharedPrefixes(
        shelf, keys, lambda n: store.frame(data.images[n], data.sizes[n]), (shape.height, shape.width), dtype
    )
