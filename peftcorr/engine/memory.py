"""How much memory a run will take at its peak, from shapes alone.

The encoder runs on the meta device, where tensors have a size and nothing in them; what lives at once is counted
operation by operation, forward and backward.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from peftcorr.backbones.base import Backbone
from peftcorr.engine.checkpointing import checkpointing
from peftcorr.engine.evaluate import first_batch
from peftcorr.engine.plan import Model
from peftcorr.matching.similarity import normalise
from peftcorr.recipe import Recipe
from peftcorr.strategies.base import Strategy

_AT_FIRST_USE = (
    150 << 20
)  # what kernels and threads set aside once they run (measured: 0.13 GB before the first step)


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak, without what the libraries take.

    Attributes:
        weights: of the backbone with what the strategy added.
        training: while a step is made, weights included; 0 where nothing is trained.
        scoring: while `encode_batch` images are encoded (``auto``: as many as it begins with), weights included.
    """

    weights: int
    training: int
    scoring: int

    @property
    def peak(self) -> int:
        """The largest; when it is loaded the backbone is there twice for a moment, but on the host alone."""
        loading = self.weights if torch.cuda.is_available() else 2 * self.weights
        return max(loading, self.training, self.scoring)


def estimate_memory(model: Model, recipe: Recipe) -> Memory:
    """Estimate the peak of a run's encoder, its gradients and its optimiser, in float32.

    Raises:
        PeftCorrError: if the strategy cannot be applied to the backbone.
    """
    backbone, strategy = model.shapes()
    weights = sum(_bytes(tensor) for tensor in (*backbone.parameters(), *backbone.buffers()))
    size, batch = model.options.image_size, recipe.encode_batch

    def images(count: int) -> Tensor:
        return torch.zeros((count, 3, size, size), dtype=torch.uint8, device="meta")

    def encode(count: int) -> None:
        maps = normalise(backbone.features(backbone.preprocess(images(count))))
        maps.permute(0, 2, 3, 1).contiguous()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.no_grad():
        scoring = _peak(lambda: encode(first_batch(device) if batch == "auto" else batch))
    training = _training(backbone, strategy, recipe, images) if strategy.trains() else 0
    return Memory(weights, weights + training if training else 0, weights + scoring)


def resident() -> int:
    """Bytes that a run of this process would have besides: on a GPU none, else what the libraries take.

    Call it with everything imported and no weights loaded.
    """
    return 0 if torch.cuda.is_available() else int(psutil.Process().memory_info().rss) + _AT_FIRST_USE


def _training(backbone: Backbone, strategy: Strategy, recipe: Recipe, images: Callable[[int], Tensor]) -> int:
    own = recipe.training
    count = own.images if own.sampler == "cliques" else 2 * own.pairs
    first = strategy.first_trainable_block(backbone)
    kept = 0 if own.prefix_cache == "none" or own.colour_jitter else first

    def forward() -> Tensor:
        pictures = backbone.preprocess(images(count))
        if not kept:
            return backbone.features(pictures)
        with torch.no_grad():
            state = backbone.prefix(pictures, kept)
        del pictures
        return backbone.suffix(state, kept)

    def step() -> None:
        with checkpointing(backbone, own.gradient_checkpointing):
            backward()

    def backward() -> None:
        torch.autograd.backward(normalise(forward().float()).sum())

    backbone.train()
    trained = sum(_bytes(parameter) for parameter in backbone.parameters() if parameter.requires_grad)
    return _peak(step) + 2 * trained  # AdamW keeps two values of each; gradients are counted in the step


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _peak(work: Callable[[], None]) -> int:
    with _fused_attention(), _Living(HOLES if not torch.cuda.is_available() else 1.0) as living:
        work()
    most: int = living.most
    return most


HOLES = 1.5
"""Bytes that the C library holds for a byte of a tensor on its heap, where between blocks that stay are holes that fit
no other: measured 1.0 at small images and 1.9 at large ones (benchmarks/memory.py). A GPU has none."""
LARGE = 32 << 20
"""Bytes from which glibc asks the system for a block of its own, and gives it back."""


class _Living(TorchDispatchMode):
    """Counts the bytes of the storages that are made while it is entered and not gone yet."""

    def __init__(self, holes: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._holes = holes
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {
            leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)
        }
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._enter(leaf.untyped_storage(), given)
        return made

    def _enter(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in given or key in self._known or not size:
            return
        size = size if size >= LARGE else int(size * self._holes)
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._leave, key, size)

    def _leave(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


@contextmanager
def _fused_attention() -> Iterator[None]:
    """Attention as devices compute it, without the whole matrix; on the meta device torch would make that."""
    functional: Any = nn.functional
    plain = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = partial(_attention, plain)
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = plain


def _attention(
    plain: Callable[..., Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **options: Any,
) -> Tensor:
    if attn_mask is not None and attn_mask.requires_grad:  # no fused kernel has its gradient
        return plain(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **options)
    fused: Tensor = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
    )[0]
    return fused
